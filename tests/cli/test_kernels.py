"""`apply` and `explain` on a small kernel, which has the tables of Linux 2.6.23."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pvspec.support.paths import resource

from ..shipped import LINUX
from .conftest import Outcome, Run

SOURCE = """
    .text
    .globl _text, _etext, text_poke, paravirt_nop
    _text:
    start_kernel:
        push %ecx; push %edx; call *paravirt_ops + 30 * 4; pop %edx; pop %ecx
        call *paravirt_ops + 20 * 4
    locked:
        lock; incl (%eax)
    barrier:
        lock; addl $0, (%esp)
        ret
    paravirt_nop: ret
    write_cr0: ret
    .type text_poke, @function
    text_poke: ret
    .size text_poke, . - text_poke
    _etext:
    .section .rodata, "a"
        .ascii "Linux version 2.6.23 (builder)\\0"
    .section .parainstructions, "a"
        .long start_kernel; .byte 30, 10; .short 1
        .long start_kernel + 10; .byte 20, 6; .short 7
    .section .smp_locks, "a"
        .long locked
    .section .altinstructions, "a"
        .long barrier, replacement; .byte 26, 5, 3, 0
    .section .altinstr_replacement, "ax"
        replacement: mfence
    .data
    paravirt_ops: .fill 20, 4, 0; .long write_cr0; .fill 80, 4, 0
"""
OPTIONS = ("--spec", str(resource("specs", "linux-2.6.23", "i386")))
ADDRESS = 0xC0100000


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("as") is None:
        pytest.skip("as is not installed (Debian package binutils)")
    monkeypatch.chdir(tmp_path)
    Path("kernel.s").write_text(SOURCE, encoding="utf-8")
    subprocess.run(["as", "--32", "-o", "kernel.o", "kernel.s"], check=True)
    link = ["ld", "-m", "elf_i386", "-e", str(ADDRESS), f"-Ttext={ADDRESS:#x}", "-o", "vmlinux", "kernel.o"]
    subprocess.run(link, check=True)
    return Path("vmlinux")


def text(vmlinux: Path) -> bytes:
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", vmlinux, "text"], check=True)
    return Path("text").read_bytes()


def test_apply(run: Run, vmlinux: Path) -> None:
    done = run("apply", vmlinux, *OPTIONS, "--cpus", "1", "--features", "XMM2,K8", "-o", "patched")
    assert (done.code, done.err) == (0, "")
    assert (
        text(Path("patched"))
        .hex(" ")
        .startswith(
            "fa 66 66 66 90 66 66 66 90 90 "  # cli
            "e8 0b 00 00 00 90 "  # call write_cr0
            "90 ff 00 "  # no lock
            "0f ae f0 66 90 c3"  # mfence
        )
    )
    assert re.search(r"patched: 2\.6\.23, 4 pokes, \d+ bytes changed", done.out)


def test_apply_as_json(run: Run, vmlinux: Path) -> None:
    value = run("apply", vmlinux, *OPTIONS, "-o", "patched", "--json").json
    assert_shape(
        value, kernel=dict, output=str, open=list, warnings=list, tables=list, absent=list, pokes=int, bytes_changed=int
    )
    assert value["kernel"] == {"kind": "vmlinux", "machine": "i386", "release": "2.6.23", "slide": 0}
    assert value["tables"] == [
        {"table": "alternatives", "records": 1},
        {"table": "smp_locks", "records": 1},
        {"table": "paravirt_ops", "records": 2},
    ]


def test_explain(run: Run, vmlinux: Path) -> None:
    done = run("explain", vmlinux, *OPTIONS, hex(ADDRESS + 3))
    assert done.code == 0
    first, *lines = done.out.splitlines()
    assert first == "0xc0100003 (start_kernel+0x3)"
    assert "paravirt_ops: record 0 of .parainstructions" in lines[0]
    assert "irq_disable" in lines[1]
    assert re.match(r'  rule    native\.pvs:\d+  irq_disable += asm "cli"$', lines[2])
    assert lines[3].startswith("  before  51 ")
    assert any(line.startswith("  after   fa ") for line in lines)


def test_explain_as_json(run: Run, vmlinux: Path) -> None:
    value = run("explain", vmlinux, *OPTIONS, hex(ADDRESS + 10), "--json").json
    shape = {"address": int, "address_hex": str, "symbol": str, "steps": list, "nearest": dict}
    assert_shape(value, **shape, instruction=type(None), open=list, warnings=list)
    assert (value["address_hex"], value["nearest"]) == (hex(ADDRESS + 10), {"before": None, "after": None})
    (step,) = value["steps"]
    assert step.keys() == {
        *("table", "section", "record", "fields", "op", "rule", "spec"),
        *("site", "site_hex", "before", "after", "others"),
    }
    assert step["fields"] == {"addr": ADDRESS + 10, "type": 20, "len": 6, "clobber": 7}
    assert (step["op"], step["record"], step["after"]) == ("write_cr0", 1, "e80b00000090")


def assert_shape(value: dict[str, Any], **own: type) -> None:
    common = {"command": str, "ok": bool, "diagnostics": list, "errors": list}
    assert {key: type(part) for key, part in value.items()} == common | own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--backend", "kvm"), "there is no backend 'kvm'; there are: lguest, native"),
        (("--nops", "p7"), "there is no nop table 'p7'"),
        (("--features", "XMM2,SSE9"), "there is no feature 'SSE9'"),
        (("--option", "pea=true"), "there is no option 'pea'"),
        (("--symbols", "nowhere"), "nowhere"),
        (("--vmlinux", "nowhere"), "nowhere"),
        (("--spec", "nowhere"), "nowhere cannot be read"),
    ],
)
def test_options_that_are_wrong(run: Run, vmlinux: Path, options: tuple[str, ...], message: str) -> None:
    done = run("apply", vmlinux, *OPTIONS, *options, "-o", "patched")
    assert done.code == 1
    assert message in done.err
    assert not Path("patched").exists()


def test_a_spec_for_another_machine(run: Run, vmlinux: Path) -> None:
    Path("wide.pvs").write_text('machine x86_64 { bits 64 nops p6 { "90" } choose nops p6 }\n', encoding="utf-8")
    done = run("apply", vmlinux, "--spec", "wide.pvs", "-o", "patched")
    assert done.code == 1
    assert "a 32-bit image, a 64-bit spec" in done.err
    done = run("apply", vmlinux, "--spec", LINUX, "-o", "patched")
    assert done.code == 1
    assert "on i386, not Linux 2.6.23 on i386" in done.err


def test_no_shipped_spec(run: Run, vmlinux: Path) -> None:
    vmlinux.write_bytes(vmlinux.read_bytes().replace(b"version 2.6.23", b"version 2.4.18"))
    done = run("apply", vmlinux, "-o", "patched")
    assert done.code == 1
    assert "2.4.18" in done.err
    assert "--spec" in done.err


def test_no_site_there(run: Run, vmlinux: Path) -> None:
    done = run("explain", vmlinux, *OPTIONS, hex(ADDRESS + 16))
    assert done.code == 0
    done = run("explain", vmlinux, *OPTIONS, hex(ADDRESS + 17))
    assert done.code == 0
    assert "no table has a site here" in done.out
    assert f"nearest site before: {ADDRESS + 16:#x}, 1 byte away, smp_locks" in done.out
    value = run("explain", vmlinux, *OPTIONS, hex(ADDRESS + 17), "--json").json
    assert value["steps"] == []
    assert value["nearest"]["before"]["address"] == ADDRESS + 16
    assert value["instruction"]["address"] <= ADDRESS + 17
    assert "is outside" in run("explain", vmlinux, *OPTIONS, "0x10").err


def test_a_bug_leaves_the_old_output(run: Run, vmlinux: Path) -> None:
    """VMI's ROM cannot be asked from the command line."""
    Path("patched").write_text("from yesterday")
    done = run("apply", vmlinux, *OPTIONS, "--backend", "vmi", "-o", "patched")
    assert_refused(done)
    assert "rom relocation is not bound" in done.err


@pytest.mark.parametrize("kept", [0, 4, 51, 52, 200, 4096])
def test_a_kernel_cut_short(run: Run, vmlinux: Path, kept: int) -> None:
    vmlinux.write_bytes(vmlinux.read_bytes()[:kept])
    Path("patched").write_text("from yesterday")
    assert_refused(run("apply", vmlinux, *OPTIONS, "-o", "patched"))


@pytest.mark.parametrize("output", ["missing/patched", ".", "kernel.s/patched"])
def test_an_output_that_cannot_be(run: Run, vmlinux: Path, output: str) -> None:
    before = sorted(path.name for path in Path().iterdir())
    done = run("apply", vmlinux, *OPTIONS, "-o", output)
    assert done.code == 1
    assert "cannot be written" in done.err
    assert sorted(path.name for path in Path().iterdir()) == before


def assert_refused(done: Outcome) -> None:
    assert done.code == 1
    assert done.err.startswith("error: vmlinux: ")
    assert Path("patched").read_text() == "from yesterday"
    assert {path.name for path in Path().iterdir()} == {"kernel.s", "kernel.o", "vmlinux", "patched"}
