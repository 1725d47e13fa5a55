"""A small kernel that KASLR can move: with addresses in it, and the table that says where."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

from .binutils import BASE, KERNEL, link_kernel, run

_FIELDS = {
    "i386": """
    mov $start_kernel, %edi
    mov pointers(, %eax, 4), %eax
    call _printk
    .section .rodata
    .fill 33, 1, 0x5a
    pointers: .long start_kernel, _printk + 2, 5, end
    .data
    .long pv_ops + 4, pointers - .
    end:
    """,
    "x86_64": """
    mov $start_kernel, %rdi
    mov pointers(, %rax, 8), %rax
    movabs $pointers, %rax
    mov variable(%rip), %eax
    call _printk
    .section .data..percpu, "aw"
    .fill 3, 4, 0x77777777
    variable: .long 0
    .section .rodata
    .fill 33, 1, 0x5a
    pointers: .quad start_kernel, _printk + 2, 5, end
    .data
    .quad pv_ops + 4, pointers - ., variable
    end:
    """,
}
_KINDS = {"R_386_32": 0, "R_X86_64_32S": 0, "R_X86_64_64": 2}
_DISTANCE = "R_X86_64_PC32"


def build(directory: Path, machine: str, slide: int = 0) -> Path:
    """The kernel, linked for its usual address or `slide` bytes higher; see `link_kernel`."""
    return link_kernel(directory, machine, KERNEL + ".text" + _FIELDS[machine], slide)


def fields(vmlinux: Path, machine: str) -> list[list[int]]:
    """By what the linker says it did: the addresses of fields that grow (32 bits), that shrink, that grow (64 bits)."""
    lists: list[list[int]] = [[], [], []]
    rows = re.findall(
        r"^([0-9a-f]+) +[0-9a-f]+ +(R_\w+) +([0-9a-f]+)",
        run("readelf", "-rW", vmlinux.with_name("vmlinux.symbols")),
        re.M,
    )
    for place, kind, symbol in rows:
        moves = int(symbol, 16) >= BASE[machine]
        if int(place, 16) >= BASE[machine] and (kind in _KINDS if moves else kind == _DISTANCE):
            lists[_KINDS.get(kind, 1)].append(int(place, 16))
    return lists if machine == "x86_64" else lists[:1]


def table(lists: Sequence[Sequence[int]]) -> bytes:
    """The lists as arch/x86/tools/relocs.c writes them: the last one first, a zero before each."""
    words = [word & 0xFFFFFFFF for part in reversed(lists) for word in (0, *part)]
    return struct.pack(f"<{len(words)}I", *words)
