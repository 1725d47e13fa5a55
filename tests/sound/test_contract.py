"""The calling contract on single pieces of code: what is refused, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec

SPEC = """
machine m {{ bits {bits} {text} nops n {{ "90" }} choose nops n }}
interface ops {{
    table ".t" {{ addr u{bits}  type u8  len u8  clobber u8 }}
    registers {{ {a} 1  {c} 2 }}
    symbol place, check clobbers {c}
    symbol quiet clobbers none
    op it 1 {contract}
}}
backend b for ops {{ it = {code} }}
"""
TEXT = "text 0xffffffff80000000 .. 0xffffffffff000000"


def codes(folder: Path, code: str, contract: str = "(eax) -> eax", bits: int = 32, text: str = "") -> list[str]:
    a, c = ("eax", "ecx") if bits == 32 else ("rax", "rcx")
    path = folder / "case.pvs"
    path.write_text(SPEC.format(bits=bits, text=text, a=a, c=c, contract=contract, code=code), encoding="utf-8")
    return sorted({diagnostic.code for diagnostic in check_spec(path).diagnostics})


def asm(source: str) -> str:
    return f'asm """\n{source}\n"""'


@pytest.mark.parametrize(
    ("source", "contract"),
    [
        ("push ecx; mov ecx, eax; add eax, ecx; pop ecx", "(eax) -> eax"),
        ("push ecx; push edx; cpuid; pop edx; pop ecx", "(eax, ecx) -> eax clobbers ebx, ecx"),
        ("push ecx; call check; pop ecx", "(eax) -> eax"),
        ("mov edx, ecx; mov ecx, eax; mov eax, ecx; mov ecx, edx", "(eax) -> eax clobbers edx"),
        ("xor ecx, ecx; mov eax, ecx", "-> eax clobbers ecx"),
        ("sbb eax, eax", "(eax, flags) -> eax"),
        ("setz ah; add ah, ah", "(flags) -> ah"),
        ("cmp eax, 1; setz ah; add ah, ah", "(eax) -> eax"),
        ("pushfd; cli; mov [place], eax; popfd", "(eax)"),
        ("test eax, eax; jz l; push eax; pop eax; l:", "(eax)"),
        ("l: dec eax; jnz l", "(eax) -> eax"),
        ("test eax, eax; jz l; call quiet; l:", "(eax)"),
        ("mov ecx, [place]; mov [ecx], eax", "(eax) clobbers ecx"),
        ("mov ecx, [eax + 4]; mov eax, [ecx + eax*4]", "(eax) -> eax clobbers ecx"),
        ("push eax; mov dword ptr [esp], 0; pop eax", "(eax) -> eax"),
        ("sub esp, 8; mov [esp + 4], eax; mov eax, [esp + 4]; add esp, 8", "(eax) -> eax"),
        ("push eax; xor edx, edx; add edx, [esp]; mov [edx], al; add esp, 4", "(eax) clobbers edx"),
        ("std; cld", "(eax)"),
        ("mov esi, esi; lea esi, [esi]", "(eax)"),
        ("mov cr3, eax; clts", "(eax)"),
        ("iretd", "noreturn"),
        ("jmp place", "noreturn"),
        ("l: pause; jmp l", "noreturn"),
        ("cli", "clobbers flags"),
        ("cli", "-> interrupt_flag"),
    ],
)
def test_is_kept(tmp_path: Path, source: str, contract: str) -> None:
    assert codes(tmp_path, asm(source), contract) == []


@pytest.mark.parametrize(
    ("source", "contract", "expected"),
    [
        ("push ecx; mov ecx, eax; pop edx", "(eax)", ["PV403"]),
        ("test eax, eax; jz l; mov ecx, 1; l:", "(eax)", ["PV403"]),
        ("mov cl, al", "(eax)", ["PV403"]),
        ("call check", "(eax)", ["PV403"]),
        ("call eax", "(eax) clobbers eax", ["PV403"]),
        ("vmcall", "(eax)", ["PV403"]),
        ("std", "(eax)", ["PV403"]),
        ("cli", "(eax)", ["PV403"]),
        ("pushfd; cli; popfd; sti", "(eax)", ["PV403"]),
        ("push 2; popfd", "(eax)", ["PV403"]),
        ("push eax; pop ebx", "(eax)", ["PV403"]),
        ("movd xmm0, eax", "(eax)", ["PV403"]),
        ("l: push eax; jmp l", "(eax)", ["PV403"]),
        ("mov eax, esp; mov [eax], eax", "-> eax", ["PV406"]),
        ("add eax, ecx", "(eax) -> eax", ["PV405"]),
        ("mov eax, ecx", "(eax) -> eax", ["PV405"]),
        ("setz al; add ah, al", "-> eax", ["PV405"]),
        ("adc eax, 0", "(eax) -> eax", ["PV405"]),
        ("bsf eax, eax; jc l; l:", "(eax) -> eax", ["PV405"]),
        ("bsf eax, eax; jc l; l:", "(eax, flags) -> eax", ["PV405"]),
        ("call quiet; jz l; l:", "(flags)", ["PV405"]),
        ("movups [place], xmm0", "(eax)", ["PV405"]),
        ("movups xmm0, [place]", "(eax)", ["PV403"]),
        ("movd eax, xmm0", "-> eax", ["PV405"]),
        ("test eax, eax; call quiet; jz l; l:", "(eax)", ["PV405"]),
        ("cmovz eax, ecx", "(eax, flags) -> eax", ["PV405"]),
        ("pushfd; pop eax", "-> eax", ["PV405"]),
        ("test eax, eax; jz l; mov ecx, eax; l: mov eax, ecx", "(eax) -> eax clobbers ecx", ["PV405"]),
        ("pop eax; push eax", "(eax) -> eax", ["PV405", "PV406"]),
        ("mov gs:[0x14], eax", "(eax)", ["PV406"]),
        ("mov ecx, 0x1000; mov [ecx], eax", "(eax) clobbers ecx", ["PV406"]),
        ("jmp place", "(eax)", ["PV404"]),
        ("jz place", "(eax, flags)", ["PV404"]),
        ("ret", "(eax)", ["PV404"]),
        ("nop", "noreturn", ["PV404"]),
        ("mov esp, eax; mov eax, ecx; iretd", "(eax) noreturn", ["PV403"]),
    ],
)
def test_is_broken(tmp_path: Path, source: str, contract: str, expected: list[str]) -> None:
    assert codes(tmp_path, asm(source), contract) == expected


def lines(name: str) -> list[str]:
    return [line for line in (Path(__file__).parent / name).read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("source", lines("reads_ecx.txt"))
def test_a_register_that_is_no_input_is_not_used(tmp_path: Path, source: str) -> None:
    contract = "({}eax, edi, flags) -> eax clobbers ebx, ecx, edx, esi, edi, flags"
    assert "PV405" in codes(tmp_path, asm(source), contract.format(""))
    assert "PV405" not in codes(tmp_path, asm(source), contract.format("ecx, "))


@pytest.mark.parametrize("source", lines("leaves_eax.txt"))
def test_a_result_is_written_whole_and_for_certain(tmp_path: Path, source: str) -> None:
    contract = "({}ecx, edx, esi, flags) -> eax clobbers ecx, edx, esi"
    nothing = source.startswith("push eax") and source.endswith("pop eax")
    assert codes(tmp_path, asm(source), contract.format("")) == ["PV403" if nothing else "PV405"]
    assert codes(tmp_path, asm(source), contract.format("eax, ")) == []


@pytest.mark.parametrize("source", lines("writes_eax.txt"))
def test_a_result_that_is_written(tmp_path: Path, source: str) -> None:
    assert codes(tmp_path, asm(source), "(ecx, flags) -> eax clobbers ebx, ecx, edx, flags") == []


@pytest.mark.parametrize(
    ("source", "result", "expected"),
    [
        ("setz al", "al", []),
        ("setz ah", "ah", []),
        ("setz al", "ah", ["PV405"]),
        ("setz al", "ax", ["PV405"]),
        ("setz al", "al, ah", ["PV405"]),
        ("setz al; mov ah, al", "al, ah", []),
        ("setz al; mov ah, al", "ax", []),
        ("mov ax, cx", "ax", []),
        ("mov eax, ecx", "al", []),
        ("nop", "al", ["PV403"]),
        ("setz al; mov bl, al", "al", ["PV403"]),
        ("nop", "rax", ["PV101"]),
        ("nop", "sil", ["PV101"]),
        ("nop", "r8b", ["PV101"]),
        ("nop", "sp", ["PV101"]),
    ],
)
def test_a_part_of_a_register_is_a_result(tmp_path: Path, source: str, result: str, expected: list[str]) -> None:
    assert codes(tmp_path, asm(source), f"(ecx, flags) -> {result}") == expected


@pytest.mark.parametrize(
    ("source", "result", "expected"),
    [
        ("mov eax, edi", "rax", []),
        ("mov eax, edi", "eax", []),
        ("mov ax, di", "eax", ["PV405"]),
        ("setz sil", "sil", []),
        ("setz r8b", "r8b", []),
        ("setz r8b", "r8", ["PV405"]),
        ("bsf eax, edi", "rax", ["PV405"]),
        ("bsf eax, edi", "eax", ["PV405"]),
        ("cmovz eax, edi", "rax", ["PV405"]),
        ("mov ecx, edi; mov eax, ecx", "rax", ["PV403"]),
        ("mov eax, ecx", "rax", ["PV405"]),
        ("mov dword ptr [edi], 0; xor eax, eax", "rax", []),
        ("mov dword ptr [ecx], 0; xor eax, eax", "rax", ["PV406"]),
        ("mov dword ptr [rcx], 0; xor eax, eax", "rax", ["PV406"]),
        ("mov eax, ecx; mov dword ptr [rax], 0; xor eax, eax", "rax", ["PV406"]),
        ("push rdi; mov dword ptr [esp], 0; pop rax", "rax", ["PV406"]),
        ("push rdi; mov fs:[rsp], rdi; pop rax", "rax", ["PV406"]),
    ],
)
def test_on_64_bits(tmp_path: Path, source: str, result: str, expected: list[str]) -> None:
    assert codes(tmp_path, asm(source), f"(rdi, flags) -> {result}", 64, TEXT) == expected


@pytest.mark.parametrize(
    "source",
    [
        "mov dword ptr [ecx], 0",
        "mov dword ptr [ecx + 8], eax",
        "inc dword ptr [ecx]",
        "push eax; pop [ecx]",
        "push eax; mov dword ptr [esp + eax*4], 0; pop eax",
        "push ebp; mov ebp, esp; mov dword ptr [ebp + eax*4], 0; pop ebp",
        "push esp; pop edx; mov [edx + eax], eax",
        "push eax; mov ds:[esp], eax; pop eax",
        "push eax; bts dword ptr [esp], eax; pop eax",
        "sub esp, 64; fnsave [esp]; xor edx, edx; xsave [esp]; add esp, 64",
        "clflush [ecx]",
        "call [esp + 8]",
        "enter 0, 0; mov dword ptr [ebp + 4], 0; pop ebp",
        "xchg eax, [esp + ecx]",
        "lodsb",
    ],
)
def test_memory_that_nothing_declares(tmp_path: Path, source: str) -> None:
    assert "PV406" in codes(tmp_path, asm(source), "(eax, flags) clobbers eax, edx, esi")


@pytest.mark.parametrize(
    ("code", "bits", "expected"),
    [
        ('bytes "eb 01 b8 90 90 90 90"', 32, ["PV407"]),
        ('bytes "eb fe"', 32, []),
        ('bytes "eb fd 90 90"', 32, ["PV408"]),
        ('bytes "74 02 90 90"', 32, ["PV405"]),
        ('bytes "e9 00 10 00 00"', 32, ["PV408"]),
        ('bytes "48 8b 05 00 10 00 00"', 64, ["PV408"]),
        ('asm "mov rax, [rip + place]"', 64, []),
        ('asm "lea rax, [rip + place]"', 64, []),
        ("nop", 32, []),
    ],
)
def test_bytes(tmp_path: Path, code: str, bits: int, expected: list[str]) -> None:
    contract = "(eax) -> eax" if bits == 32 else "-> rax"
    assert codes(tmp_path, code, contract, bits) == expected


def test_no_code_leaves_no_result(tmp_path: Path) -> None:
    assert codes(tmp_path, "nop", "-> eax") == ["PV403"]
    assert codes(tmp_path, "nop when target is null else keep", "-> eax") == []


@pytest.mark.parametrize(
    ("source", "bits", "text", "expected"),
    [
        ("mov [place], rdi", 64, TEXT, []),
        ("mov rax, offset place", 64, TEXT, []),
        ("mov eax, offset place", 64, TEXT, ["PV409"]),
        ("mov eax, offset place", 64, "", []),
        ("mov eax, [rip + place]", 64, "text 0xffffffff00000000 .. 0xffffffffffffffff", ["PV409"]),
        ("mov [place], rdi", 64, "text 0x1000 .. 0x80000000", []),
        ("mov [place], rdi", 64, "text 0x1000 .. 0x80000001", ["PV409"]),
        ("mov eax, offset place", 32, "text 0 .. 0x100000000", []),
        ("mov al, offset place", 32, "text 0 .. 0x100000000", ["PV409"]),
        ("mov al, offset place", 32, "text 0 .. 0x100", []),
    ],
)
def test_holes(tmp_path: Path, source: str, bits: int, text: str, expected: list[str]) -> None:
    contract = "(rdi) -> rax clobbers rax" if bits == 64 else "-> eax"
    contract = contract.replace("-> rax ", "") if "rdi" in source else contract
    contract = contract.replace("-> eax", "-> al") if "al," in source else contract
    assert codes(tmp_path, asm(source), contract, bits, text) == expected


def test_an_instruction_is_underlined_where_it_stands(tmp_path: Path) -> None:
    code = asm("nop  # mov ecx, 1\nmov eax, 1; mov ecx, 1\nmov edx, 1")
    codes(tmp_path, code)
    shown = {label.span.text for d in check_spec(tmp_path / "case.pvs").diagnostics for label in d.labels[:1]}
    assert shown == {"mov ecx, 1", "mov edx, 1"}
    lines = {d.labels[0].span.line for d in check_spec(tmp_path / "case.pvs").diagnostics}
    assert lines == {12, 13}
