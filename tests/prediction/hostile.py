"""Images that mean harm, with tables as large as one likes, and the spec for them."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from tests.prediction.kernel import BASE, SCRIPT

PLACES = 3 << 20  # bytes of text

SOURCE = """
    .text
    .globl _text, _etext, __start_jumps, __stop_jumps
    _text: .fill {places} - 8192, 1, 0x90
        .fill 4096, 2, 0x9066
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

family alternatives {
    table ".altinstructions" { site u64  repl u64  cpuid u16  len u8  repl_len u8 }
    stacked
    longest
    nops relaid throughout
    copy repl repl_len relocated throughout  when cpu has cpuid
}

family smp_locks {
    table ".smp_locks" { site u64 }
    len 1
    bytes "3e"  when site begins "90"
}

family jump_labels {
    table __start_jumps .. __stop_jumps { site u64  dest u64  key u64 }
    reads enabled s32 at key
    len 2
    jmp short dest  when enabled
    nop
}
"""


def make_image(folder: Path, alternatives: bytes = b"", locks: bytes = b"", jumps: bytes = b"", bss: int = 0) -> None:
    """Make `vmlinux` with these tables, and `hostile.pvs`; FileNotFoundError without binutils."""
    (folder / "hostile.pvs").write_text(SPEC)
    script = SCRIPT.replace(".return_sites", ".bss").replace("*(.return_sites)", "*(.bss)")
    (folder / "kernel.lds").write_text(script)
    for name, table in (("alternatives", alternatives), ("locks", locks), ("jumps", jumps)):
        (folder / name).write_bytes(table)
    (folder / "kernel.s").write_text(SOURCE.format(places=PLACES, bss=bss))
    subprocess.run(["as", "--64", "-o", "kernel.o", "kernel.s"], cwd=folder, check=True)
    subprocess.run(["ld", "-e", str(BASE), "-T", "kernel.lds", "-o", "vmlinux", "kernel.o"], cwd=folder, check=True)


def locks(count: int) -> bytes:
    """Records of so many bytes of text, one behind the other."""
    return b"".join(struct.pack("<Q", BASE + place) for place in range(count))


def alternatives(count: int, length: int, step: int) -> bytes:
    """Records that copy one byte less than their site, each from elsewhere."""
    return b"".join(
        struct.pack("<QQHBB", BASE + index * step, BASE + PLACES - 512 - index % 4096, 1, length, length - 1)
        for index in range(count)
    )
