"""Kernel images that mean harm: each is refused by name or done with, soon and in little memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.prediction.kernel import BASE, SCRIPT

SECONDS, MEMORY = 60, 1 << 20  # KiB; a run that hangs is cut off. The benchmarks say how long one takes
PLACES = 3 << 20  # bytes of text

SOURCE = """
    .text
    .globl _text, _etext, __start_jumps, __stop_jumps
    _text: .fill {places}, 1, 0x90
    _etext:
    .section .rodata, "a"
        .ascii "Linux version 9.9.0-test (builder)\\0"
    .section .altinstructions, "a"
        .incbin "alternatives"
    .section .smp_locks, "a"
        .incbin "locks"
    .data
    __start_jumps: .incbin "jumps"
    __stop_jumps:
    .bss
    .fill {bss}, 1
"""

SPEC = """\
machine x86_64 {
    bits 64
    feature FAST  1
    nops p6 { "90"  "66 90"  "0f 1f 00"  "0f 1f 40 00" }
    choose nops p6
}

family alternatives on x86_64 {
    table ".altinstructions" { site u64  repl u64  cpuid u16  len u8  repl_len u8 }
    stacked
    longest
    nops relaid throughout
    copy repl repl_len relocated throughout  when cpu has cpuid
}

family smp_locks on x86_64 {
    table ".smp_locks" { site u64 }
    len 1
    bytes "3e"  when site begins "90"
}

family jump_labels on x86_64 {
    table __start_jumps .. __stop_jumps { site u64  dest u64  key u64 }
    reads enabled s32 at key
    len 2
    jmp short dest  when enabled
    nop
}
"""


@dataclass(frozen=True)
class Cost:
    """What a process left behind: its status, what it said, and the most memory that it had, in KiB."""

    code: int
    out: str
    err: str
    memory: int


def predict(*arguments: str) -> Cost:
    command = [sys.executable, "-m", "pvspec", "predict", "vmlinux", "--spec", "hostile.pvs", "-o", "text", *arguments]
    with Path("out").open("wb") as out, Path("err").open("wb") as err:
        process = subprocess.Popen(["timeout", str(SECONDS), *command], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(process.returncode, Path("out").read_text(), Path("err").read_text(), usage.ru_maxrss)


Build = Callable[..., None]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Makes `vmlinux`, with these tables and as much of .bss, in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("hostile.pvs").write_text(SPEC)
    script = SCRIPT.replace(".return_sites", ".bss").replace("*(.return_sites)", "*(.bss)")
    Path("kernel.lds").write_text(script)

    def make(alternatives: bytes = b"", locks: bytes = b"", jumps: bytes = b"", bss: int = 0) -> None:
        for name, table in (("alternatives", alternatives), ("locks", locks), ("jumps", jumps)):
            Path(name).write_bytes(table)
        Path("kernel.s").write_text(SOURCE.format(places=PLACES, bss=bss))
        try:
            subprocess.run(["as", "--64", "-o", "kernel.o", "kernel.s"], check=True)
        except FileNotFoundError:
            pytest.skip("as is not installed (Debian package binutils)")
        subprocess.run(["ld", "-e", str(BASE), "-T", "kernel.lds", "-o", "vmlinux", "kernel.o"], check=True)

    return make


def assert_refused(cost: Cost, message: str) -> None:
    assert (cost.code, cost.out) == (1, "")
    assert cost.err.startswith("error: vmlinux: ")
    assert message in cost.err
    assert cost.memory < MEMORY
    assert not Path("text").exists()


def assert_done(cost: Cost) -> None:
    assert (cost.code, cost.err) == (0, "")
    assert cost.memory < MEMORY


def alternatives(count: int, length: int, step: int) -> bytes:
    """Records that copy one byte less than their site, each from elsewhere."""
    return b"".join(
        struct.pack("<QQHBB", BASE + index * step, BASE + PLACES - 512 - index % 4096, 1, length, length - 1)
        for index in range(count)
    )


def test_millions_of_alternatives(build: Build) -> None:
    build(alternatives=bytes(20) * 5_000_000)
    assert_refused(predict(), "its tables have 5000000 records, 5000000 of them in alternatives: more work than any")


def test_millions_of_locks(build: Build) -> None:
    build(locks=struct.pack("<Q", BASE) * 10_000_000)
    assert_refused(predict(), "10000000 of them in smp_locks")


def test_as_many_locks_as_are_let_in(build: Build) -> None:
    build(locks=b"".join(struct.pack("<Q", BASE + place) for place in range(1_400_000)))
    assert_done(predict())


def test_long_sites_stacked(build: Build) -> None:
    """255 bytes of nops are laid anew for each of so many records that name one site."""
    build(alternatives=alternatives(100_000, 255, 0))
    assert_refused(predict("--features", "FAST"), "100000 of them in alternatives")
    build(alternatives=alternatives(15_000, 255, 0))
    assert_done(predict("--features", "FAST"))


def test_keys_that_cannot_be_read(build: Build) -> None:
    build(jumps=b"".join(struct.pack("<QQQ", BASE + 2 * n, BASE, 0xDEAD0000 + n) for n in range(500_000)))
    cost = predict()
    assert_done(cost)
    assert "500000" in cost.out


def test_an_image_that_takes_much_room(build: Build) -> None:
    build(locks=struct.pack("<Q", BASE), bss=300 << 20)
    assert_refused(predict(), "MiB of memory")
    build(locks=struct.pack("<Q", BASE), bss=180 << 20)
    assert_done(predict())


def test_a_table_that_ends_before_it_begins(build: Build) -> None:
    build()
    Path("hostile.pvs").write_text(SPEC.replace("__start_jumps .. __stop_jumps", "__stop_jumps .. _text"))
    assert_refused(predict(), "lie outside the image")
