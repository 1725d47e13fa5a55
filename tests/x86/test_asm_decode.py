"""Reading code back, and what instructions do."""

from pathlib import Path

import capstone
import pytest

from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.code import InstructionEffects, MemoryAccess
from pvspec.x86.decode import disassemble, second_opinions
from pvspec.x86.effects import effects

LINES = (Path(__file__).parent / "corpus.txt").read_text().splitlines()
CORPUS = [line.split(" | ") for line in LINES if " | " in line]
CAPSTONE_ERRS = ("cdq", "cqo", "test eax, 1")  # it takes what they read for written


def texts(code: str, bits: int = 32) -> list[tuple[int, str]]:
    return [(i.size, i.text) for i in disassemble(bytes.fromhex(code), bits)]


def effect(source: str, bits: int = 32) -> InstructionEffects:
    (one,) = effects(assemble(source, bits, ("sym",)), bits)
    return one


def corpus_codes(bits: int) -> list[tuple[str, bytes]]:
    wanted = [(source, code) for b, source, code in CORPUS if b == str(bits)]
    return [(source, bytes.fromhex(code)) for source, code in wanted if code != "REFUSED" and "{" not in code]


@pytest.mark.parametrize(
    ("bits", "code", "expected"),
    [
        (32, "fa9090c3", [(1, "cli"), (1, "nop"), (1, "nop"), (1, "ret")]),
        (32, "0fb9cccc", [(3, "ud1 ecx, esp"), (1, "int3")]),
        (32, "2e2e2e31c0", [(5, "cs xor eax, eax")]),
        (32, "669c9c", [(2, "pushfw"), (1, "pushfd")]),
        (64, "c3cccccccc", [(1, "ret"), *[(1, "int3")] * 4]),
        (64, "06fa", [(1, "(bad)"), (1, "cli")]),
        (64, "e9", [(1, "(bad)")]),
        (32, "8d742600", [(4, "lea esi, [esi]")]),
        (64, "f3aa48cb480f07", [(2, "rep stosb"), (2, "retfq"), (3, "sysretq")]),
        (32, "", []),
    ],
)
def test_disassemble(bits: int, code: str, expected: list[tuple[int, str]]) -> None:
    assert texts(code, bits) == expected


def test_branch_targets_are_addresses() -> None:
    assert disassemble(bytes.fromhex("ebfee800000000"), 32, 0xC0101000)[1].text == "call 0xc0101007"


def test_capstone_sees_the_same_lengths() -> None:
    for bits in (32, 64):
        for source, code in corpus_codes(bits):
            if "sb" in source and code.startswith(b"\xf3\x0f\x01"):
                continue  # setssbsy and saveprevssp came after capstone's tables
            opinions = [o.text for o in second_opinions(code, bits)]
            assert not opinions or opinions == ["(bad)"], source


def test_capstone_errs_here() -> None:
    assert [(o.offset, o.size, o.text) for o in second_opinions(bytes.fromhex("900fb9cc"), 32)] == [(1, 2, "ud1")]


@pytest.mark.parametrize("bits", [32, 64])
def test_what_capstone_sees_written_is_written(bits: int) -> None:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_64)
    engine.detail = True
    families = {32: ("eax", "ecx", "edx", "ebx", "esi", "edi"), 64: ("rax", "rcx", "rdx", "rbx", "rsi", "rdi")}[bits]
    for source, code in corpus_codes(bits):
        (ours,) = effects(assemble(source, bits, ()), bits)
        for instruction in engine.disasm(code, 0):
            names = {engine.reg_name(number) for number in instruction.regs_access()[1]}
            if source not in CAPSTONE_ERRS:
                assert names & set(families) <= ours.writes, source


@pytest.mark.parametrize(
    ("bits", "source", "reads", "writes"),
    [
        (32, "mov al, cl", {"ecx"}, {"eax"}),
        (64, "mov eax, ecx", {"rcx"}, {"rax"}),
        (64, "xor r8b, dil", {"r8", "rdi"}, {"r8"}),
        (32, "cpuid", {"eax", "ecx"}, {"eax", "ebx", "ecx", "edx"}),
        (32, "rdtsc", set(), {"eax", "edx"}),
        (32, "clts", {"cr0"}, {"cr0"}),
        (32, "xchg eax, edx", {"eax", "edx"}, {"eax", "edx"}),
        (64, "rep stosq", {"rax", "rcx", "rdi"}, {"rcx", "rdi"}),
    ],
)
def test_registers(bits: int, source: str, reads: set[str], writes: set[str]) -> None:
    one = effect(source, bits)
    assert one.reads - {"es"} == reads
    assert one.writes == writes


@pytest.mark.parametrize(
    ("source", "read", "written"),
    [
        ("cli", set(), {"if"}),
        ("jz sym", {"zf"}, set()),
        ("adc eax, 1", {"cf"}, {"of", "sf", "zf", "af", "cf", "pf"}),
        ("mov eax, 1", set(), set()),
    ],
)
def test_flags(source: str, read: set[str], written: set[str]) -> None:
    assert effect(source).flags_read == read
    assert effect(source).flags_written == written


@pytest.mark.parametrize(
    ("bits", "source", "delta"),
    [
        (32, "push eax", -4),
        (64, "push rax", -8),
        (32, "pop eax", 4),
        (32, "popfd", 4),
        (32, "pop esp", None),
        (32, "mov esp, ecx", None),
        (32, "leave", None),
        (32, "add esp, 8", 8),
        (64, "sub rsp, 0x80", -0x80),
        (64, "add rsp, -8", -8),
        (32, "lea esp, [esp - 4]", -4),
        (32, "lea esp, [ecx - 4]", None),
        (32, "and esp, -16", None),
        (32, "add esp, offset sym", None),
        (32, "lea esp, [esp + sym]", None),
        (32, "call sym", 0),
        (32, "ret 4", 8),
        (32, "iretd", 12),
        (32, "nop", 0),
    ],
)
def test_stack(bits: int, source: str, delta: int | None) -> None:
    assert effect(source, bits).stack_delta == delta


@pytest.mark.parametrize(
    ("source", "kind", "falls_through"),
    [
        ("nop", "plain", True),
        ("jz sym", "branch", True),
        ("jmp sym", "jump", False),
        ("jmp eax", "jump", False),
        ("call sym", "call", True),
        ("call [eax]", "call", True),
        ("ret", "return", False),
        ("iretd", "return", False),
        ("sysexit", "return", False),
        ("int 0x80", "trap", True),
        ("vmcall", "trap", True),
        ("ud2", "exception", False),
    ],
)
def test_flow(source: str, kind: str, falls_through: bool) -> None:
    assert (effect(source).kind, effect(source).falls_through) == (kind, falls_through)


def test_targets_lie_in_the_code_or_are_unknown() -> None:
    code = assemble("a: jz b; jmp sym; b: jmp a; call sym; jmp c; c:", 32, ("sym",))
    assert [one.target for one in effects(code, 32)] == [7, None, 0, None, len(code.data)]


def test_memory() -> None:
    (access,) = effect("add word ptr fs:[eax + ecx*4 - 8], 1").memory
    assert access == MemoryAccess("fs", "eax", "ecx", 4, -8, 2, True, True)
    (pushed,) = effect("push rax", 64).memory
    assert pushed == MemoryAccess("ss", "rsp", None, 1, -8, 8, False, True)


def test_refused_code_has_no_effects() -> None:
    with pytest.raises(AsmErrors):
        effect("vmcall eax")
