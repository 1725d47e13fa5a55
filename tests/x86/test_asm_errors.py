"""Refusals: all of them at once, each at its place, with something to do about it."""

import pytest

from pvspec.x86.assembler import AsmErrors, assemble


def errors(source: str, bits: int = 32) -> list[tuple[str, str, str | None]]:
    with pytest.raises(AsmErrors) as raised:
        assemble(source, bits, ("vcpu_info", "check_events"))
    return [(source[e.start : e.end], e.message, e.help) for e in raised.value.errors]


def test_every_bad_statement_is_reported_in_order() -> None:
    source = "frobnicate eax  # no\n nop; mov al, 300\nx: jmp nowhere;\nmov eax, ,"
    places = [place for place, _, _ in errors(source)]
    assert places == ["frobnicate eax", "300", "nowhere", ","]


def test_all_errors_and_their_messages_are_in_the_exception() -> None:
    with pytest.raises(AsmErrors, match=r"300 does not fit 8 bits here; .* does not fit 16 bits"):
        assemble("mov al, 300; mov ax, 0x10000", 32, ())


@pytest.mark.parametrize(
    ("source", "place", "message", "help"),
    [
        (
            "call chek_events",
            "chek_events",
            "`chek_events` is not a register, label or symbol",
            "did you mean `check_events`?",
        ),
        ("mov eax, ecz", "ecz", "`ecz` is not a register, label or symbol", "did you mean `ecx`?"),
        ("mov al, 300", "300", "300 does not fit 8 bits here", "the assembler's answer reads `mov al, 0x2c`"),
        (
            "mov [eax], 1",
            "[eax]",
            "the operand's size is ambiguous",
            "write `byte ptr […]` or `word ptr […]` or `dword ptr […]`",
        ),
        ("jmp 0x1234", "0x1234", "a branch out of the code must go to a symbol", "declare a symbol for it"),
        ("mov eax, 010", "010", "`010` is not a valid number", "numbers are decimal, 0x… or 0b…"),
        ("mov eax, [rax]", "mov eax, [rax]", "`rax` is not a register of 32-bit code", None),
        ("  retn ", "retn", "`retn` is not an accepted mnemonic", "write ret"),
        (
            "lock",
            "lock",
            "`lock` is a prefix without an instruction",
            "write both in one statement, as in `lock …`",
        ),
        ("push word ptr 5", "5", "a number cannot have a size", 'if the size matters, write it as `bytes "…"`'),
        (
            "movdir64b eax, [edi]",
            "movdir64b eax, [edi]",
            "unknown instruction, or invalid operands",
            'check the spelling, or write it as `bytes "…"`',
        ),
        ("finit", "finit", "`finit` is not an accepted mnemonic", "write fwait; fninit"),
        (
            "faddp",
            "faddp",
            "the assembler's answer does not read back as this statement",
            'it gave `faddp st(1), st(0)`; write the instruction in full, or write it as `bytes "…"`',
        ),
        (
            "jmp far check_events",
            "far",
            "expected a register, a number or a symbol, not `far`",
            'remove it, or write it as `bytes "…"`',
        ),
        (
            "mov al, [bx + vcpu_info]",
            "[bx + vcpu_info]",
            "the address of `vcpu_info` does not fit here",
            "use a wider operand",
        ),
        (".byte 1", ".byte", "directive `.byte` is not an instruction", 'write raw bytes as `bytes "…"`'),
        (
            "mov eax, vcpu_info",
            "vcpu_info",
            "`vcpu_info` alone is ambiguous: some assemblers read it as memory",
            "write `offset vcpu_info` for its address, `[vcpu_info]` for what is there",
        ),
    ],
)
def test_one_error(source: str, place: str, message: str, help: str | None) -> None:
    assert errors(source) == [(place, message, help)]


@pytest.mark.parametrize(
    "source", ["mov eax, \u00e9", "\u0665", "mov eax, 0x" + "f" * 5000, "mov eax, " + "-" * 999, "\0", "["]
)
@pytest.mark.parametrize("bits", [32, 64])
def test_hostile_text_is_refused(source: str, bits: int) -> None:
    assert errors(source, bits)


@pytest.mark.parametrize("statement", ["mov ah, sil", "mov ah, r8b", "movzx rax, ah", "mov ah, [r8]", "add bh, r9b"])
def test_what_makes_keystone_abort_the_process_is_not_asked(statement: str) -> None:
    assert errors(statement, 64)


def test_nothing_is_no_code() -> None:
    code = assemble(" # nothing\n;;\n", 32, ())
    assert (code.data, code.holes, code.instructions) == (b"", (), ())
