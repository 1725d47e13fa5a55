"""A small kernel and a small module, assembled and linked by binutils."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BASE = {"i386": 0xC1000000, "x86_64": 0xFFFFFFFF81000000}
MODE = {"i386": "32", "x86_64": "64"}
EMULATION = {"i386": "elf_i386", "x86_64": "elf_x86_64"}
RELEASE = "6.1.0-9-test"

KERNEL = """
    .text
    .globl start_kernel, _printk
    start_kernel: nop
        .fill 100, 1, 0x90
    _printk: ret
    .section .rodata, "a"
    .ascii "Linux version %s (builder) 6.1\\0"
    .data
    .globl pv_ops
    pv_ops: .long 1, 2, 3
    .bss
    .fill 64
    .section .init.text, "ax"
    setup: ret
    .section __ksymtab, "a"
    entry: .long _printk - entry, name - entry - 4, name + 7 - entry - 8
    .section __ksymtab_strings, "aMS", @progbits, 1
    name: .asciz "_printk"
""".replace("%s", RELEASE)


def run(*command: str | Path) -> str:
    """What the command printed; the test is skipped where it is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed (Debian package binutils)")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def assemble(source: str, target: Path, machine: str) -> Path:
    target.with_suffix(".s").write_text(source)
    run("as", f"--{MODE[machine]}", "-o", target, target.with_suffix(".s"))
    return target


def link_kernel(directory: Path, machine: str, source: str = KERNEL, slide: int = 0) -> Path:
    """A stripped vmlinux, linked as `vmlinux` for the usual address or `slide` bytes higher.

    `vmlinux.symbols` is not stripped, and has the relocations still that the linker applied.
    """
    directory.mkdir(exist_ok=True)
    script = directory / "kernel.lds"
    script.write_text(
        f"PHDRS {{ text PT_LOAD FLAGS(5); data PT_LOAD FLAGS(6); percpu PT_LOAD FLAGS(6); init PT_LOAD FLAGS(7); }}\n"
        f"SECTIONS {{ .data..percpu 0 : {{ *(.data..percpu) }} :percpu\n"
        f" . = {BASE[machine] + slide:#x};\n"
        " .text : { *(.text) } :text .rodata : { *(.rodata) } __ksymtab : { *(__ksymtab) }\n"
        " __ksymtab_strings : { *(__ksymtab_strings) }\n"
        " . = ALIGN(4096); .data : { *(.data) } :data .bss : { *(.bss) }\n"
        " . = ALIGN(4096); .init.text : { *(.init.text) } :init\n"
        " /DISCARD/ : { *(.note*) } }\n"
    )
    symbols, kernel = directory / "vmlinux.symbols", directory / "vmlinux"
    file = assemble(source, directory / "kernel.o", machine)
    run("ld", "-m", EMULATION[machine], "--emit-relocs", "-T", script, "-o", symbols, file)
    run("strip", "-o", kernel, symbols)
    return kernel
