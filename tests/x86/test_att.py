"""The Intel spelling that is proposed for AT&T syntax, against GNU as, which reads both."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.att import intel_spelling, is_att
from pvspec.x86.intel_parser import parse_statement

STATEMENTS = [
    "movl %eax, %ebx",
    "mov $5, %rax",
    "movq $-1, %rax",
    "movabs $0x123456789abcdef0, %rax",
    "movb $1, (%rdi)",
    "movw $1, 4(%rdi)",
    "movl $1, -8(%rbp)",
    "movq %rax, 8(%rdi,%rsi,4)",
    "mov (,%rsi,8), %rax",
    "mov 0x10(,%rsi,8), %rax",
    "mov (%rdi,%rsi), %ecx",
    "mov %gs:0x10, %rax",
    "movq %gs:(%rdi), %rax",
    "movl %fs:8(%rdi), %eax",
    "lea 1(%rax,%rax,2), %ecx",
    "leaq 8(%rsp), %rsp",
    "addl $1, (%rdi)",
    "subq $8, %rsp",
    "shll $3, %eax",
    "shrq %cl, (%rdi)",
    "pushq $5",
    "pushq %rbp",
    "popq (%rdi)",
    "call *%rax",
    "jmp *8(%rax)",
    "call *(%rdi,%rsi,8)",
    "lock incl (%rdi)",
    "lock cmpxchgq %rcx, (%rdi)",
    "movzbl (%rdi), %eax",
    "movzwl %ax, %ecx",
    "movsbq %al, %rcx",
    "testb $1, %al",
    "btl $9, (%rdi)",
    "bsfq %rax, %rcx",
    "xchg %rax, (%rdi)",
    "outb %al, $0x80",
    "inb $0x60, %al",
    "mov %cr0, %rax",
    "movq %rax, %db7",
    "imul $3, %rax, %rcx",
    "int $0x80",
    "movl %%edx, %%eax",
    "negl 4(%rsp)",
    "sete (%rdi)",
    "fldl (%rdi)",
    "movd %xmm0, %eax",
    "movdqu (%rdi), %xmm0",
    "enter $8, $0",
]


def assembled(folder: Path, statement: str, intel: bool) -> bytes | None:
    source = folder / "a.s"
    source.write_text((".intel_syntax noprefix\n" if intel else "") + statement + "\n")
    for command in (["as", "--64", "-o", "a.o", "a.s"], ["objcopy", "-O", "binary", "-j", ".text", "a.o", "a.bin"]):
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
            return None
    return folder.joinpath("a.bin").read_bytes()


@pytest.mark.parametrize("statement", STATEMENTS)
def test_both_spellings_are_one_instruction(tmp_path: Path, statement: str) -> None:
    assert is_att(statement)
    code = assembled(tmp_path, statement.replace("%%", "%"), intel=False)
    assert code
    with pytest.raises(AsmErrors, match="AT&T syntax") as raised:
        assemble(statement, 64, ())
    help = raised.value.errors[0].help
    assert help
    if help.startswith("write `"):  # otherwise nothing but what differs is said
        proposed = help.split("`")[1]
        parse_statement(proposed)
        assert assembled(tmp_path, proposed, intel=True) == code


def test_most_are_respelt() -> None:
    assert [statement for statement in STATEMENTS if intel_spelling(statement) is None] == [
        "fldl (%rdi)",
        "enter $8, $0",
    ]


@pytest.mark.parametrize("statement", ["mov eax, ebx", "mov eax, [ebx + 5]", "push offset $name", "call $name", "cli"])
def test_intel_syntax_is_not_taken_for_it(statement: str) -> None:
    assert not is_att(statement)
