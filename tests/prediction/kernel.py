"""A small kernel with a table of each kind, and its spec."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BASE = 0xFFFFFFFF81000000

SOURCE = """
    .text
    .globl _text, _etext, start, function, other
    _text:
    start:
        call replaced_by
    locked:
        lock incl (%rdi)
    alternative:
        lock addl $0, -4(%rsp)
    labelled:
        .byte 0x0f, 0x1f, 0x44, 0, 0
    called:
        call __SCT__hook
    constant:
        mov $0x11111111, %eax
    replaced_by: ret
    function: ret
    other: ret
        .balign 16
    .globl __SCT__hook, __SCT__none
    __SCT__hook: .byte 0xe9; .long function - . - 4
        .balign 16
    __SCT__none: .byte 0xe9; .long function - . - 4
        .balign 16
    __x86_return_thunk: ret
    return_site: .byte 0xe9; .long __x86_return_thunk - . - 4
        .fill 32, 1, 0xcc
    _etext:
    .section .init.text, "ax"
    init_locked: lock incl (%rdi)

    .section .rodata, "a"
        .ascii "Linux version 9.9.0-test (builder)\\0"
        .balign 4096
        .fill 8192, 1, 0x5a

    .section .altinstructions, "a"
        .long alternative - ., replacement - ., 3
        .byte 6, 3
    .section .altinstr_replacement, "ax"
    replacement: mfence
    .section .smp_locks, "a"
        .long locked - ., init_locked - .
    .section .return_sites, "a"
        .long return_site - .

    .data
    .balign 8
    .globl __start_jumps, __stop_jumps, __start_calls, __stop_calls, __SCK__hook, __SCK__none, shift
    __start_jumps: .long labelled - ., other - ., key - . + 1
    __stop_jumps:
    __start_calls: .long called - ., __SCK__hook - .
    __stop_calls:
    key: .long 0
    __SCK__hook: .quad function
    __SCK__none: .quad 0
    shift: .byte 7
"""

SPEC = """\
machine x86_64 {
    bits 64
    feature XMM2       0*32 + 3  "sse2"
    feature UNRET                "unret"
    feature BUG_RETBLEED         "retbleed"
    nops p6 { "90"  "66 90"  "0f 1f 00"  "0f 1f 40 00"  "0f 1f 44 00 00"  "66 0f 1f 44 00 00" }
    choose nops p6
}

cmdline {
    variable mitigations = auto { auto, off }
    early_param "mitigations" -> mitigations { "auto"  "off" }
}

decide retbleed_select_mitigation in "bugs.c" {
    clear UNRET  when mitigations is off
    set   UNRET  when cpu has BUG_RETBLEED and mitigations is not off
}

family alternatives {
    table ".altinstructions" { site rel32  repl rel32  cpuid u32  len u8  repl_len u8 }
    stacked
    copy repl repl_len relocated throughout  when cpu has cpuid
}

family smp_locks {
    table ".smp_locks" { site rel32 }
    len 1
    bytes "3e"  when cpus == 1 and site begins "f0"
}

family returns {
    table ".return_sites" { site rel32 }
    len 5
    symbol __x86_return_thunk
    keep                    when cpu has UNRET
    bytes "c3 cc cc cc cc"  when site is jmp __x86_return_thunk
}

family jump_labels {
    table __start_jumps .. __stop_jumps { site rel32  to rel32  branch u1  init u1  key rel30 << 2 }
    reads enabled s32 at key
    len 5
    jmp to  when (enabled and not branch) or (branch and not enabled)
    nop
}

family static_calls {
    table __start_calls .. __stop_calls { site rel32  key rel32 }
    reads function u64 at key
    len 5
    nop            when function is null
    call function
}

family trampolines {
    sites "__SCT__*" {
        key "__SCK__*"
    }
    reads function u64 at key
    len 5
    jmp function            when not function is null
    bytes "c3 cc cc cc cc"
}

family constants {
    sites "constant" { }
    site site + 1
    reads value u8 at shift
    len 1
    symbol shift
    store value
}

passes { alternatives, smp_locks, returns, jump_labels, static_calls, trampolines, constants }
"""

SCRIPT = f"""
PHDRS {{ text PT_LOAD FLAGS(5); data PT_LOAD FLAGS(6); init PT_LOAD FLAGS(7); }}
SECTIONS {{
    . = {BASE:#x};
    .text : {{ *(.text) }} :text
    . = ALIGN(4096);
    .rodata : {{ *(.rodata) }}
    . = ALIGN(4096);
    .data : {{ *(.data) }} :data
    .altinstructions : {{ *(.altinstructions) }}
    .smp_locks : {{ *(.smp_locks) }}
    .return_sites : {{ *(.return_sites) }}
    . = ALIGN(4096);
    .init.text : {{ *(.init.text) }} :init
    .altinstr_replacement : {{ *(.altinstr_replacement) }}
}}
"""

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
stepping\t: 7
flags\t\t: fpu sse2
bugs\t\t: retbleed

processor\t: 1
vendor_id\t: GenuineIntel
"""


def build(source: str = SOURCE, *, name: str = "vmlinux") -> Path:
    """The kernel's ELF file in the current directory, with its symbols; the test is skipped without binutils."""
    if shutil.which("as") is None:
        pytest.skip("as is not installed (Debian package binutils)")
    Path("kernel.s").write_text(source, encoding="utf-8")
    Path("kernel.pvs").write_text(SPEC, encoding="utf-8")
    subprocess.run(["as", "--64", "-o", "kernel.o", "kernel.s"], check=True)
    Path("kernel.lds").write_text(SCRIPT, encoding="utf-8")
    subprocess.run(["ld", "-e", str(BASE), "-T", "kernel.lds", "-o", name, "kernel.o"], check=True)
    return Path(name)
