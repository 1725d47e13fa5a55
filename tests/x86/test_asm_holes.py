"""Holes: where they lie, how they are filled, what fits."""

from collections.abc import Callable

import pytest

from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.code import Hole

Judge = Callable[[list[str], int], list[tuple[int, bytes] | None]]


def holes(source: str, bits: int = 32) -> tuple[Hole, ...]:
    return assemble(source, bits, ("sym", "other")).holes


@pytest.mark.parametrize(
    ("bits", "source", "expected"),
    [
        (32, "mov eax, [sym]", Hole(1, 4, "sym", 0, False, 0, False)),
        (64, "mov eax, [sym]", Hole(3, 4, "sym", 0, False, 0, True)),
        (64, "mov eax, [eax + sym]", Hole(3, 4, "sym", 0, False, 0, False)),
        (64, "mov eax, [rip + sym + 4]", Hole(2, 4, "sym", 4, True, 6, True)),
        (64, "movabs eax, [sym]", Hole(1, 8, "sym", 0, False, 0, False)),
        (64, "movabs rax, offset sym", Hole(2, 8, "sym", 0, False, 0, False)),
        (64, "mov rax, offset sym", Hole(3, 4, "sym", 0, False, 0, True)),
        (64, "mov eax, offset sym", Hole(1, 4, "sym", 0, False, 0, False)),
        (64, "push offset sym", Hole(1, 4, "sym", 0, False, 0, True)),
        (32, "mov ax, offset sym", Hole(2, 2, "sym", 0, False, 0, False)),
        (32, "mov al, offset sym - 1", Hole(1, 1, "sym", -1, False, 0, False)),
        (32, "int offset sym", Hole(1, 1, "sym", 0, False, 0, False)),
        (32, "call sym", Hole(1, 4, "sym", 0, True, 5, True)),
        (32, "jz sym + 8", Hole(2, 4, "sym", 8, True, 6, True)),
        (32, "loop sym", Hole(1, 1, "sym", 0, True, 2, True)),
        (32, "jmp short sym", Hole(1, 1, "sym", 0, True, 2, True)),
        (64, "cs jz short sym + 1", Hole(2, 1, "sym", 1, True, 3, True)),
        (64, "xbegin sym", Hole(2, 4, "sym", 0, True, 6, True)),
        (64, "cs jmp sym", Hole(2, 4, "sym", 0, True, 6, True)),
        (64, "cmp byte ptr [rip + sym], 1", Hole(2, 4, "sym", 0, True, 7, True)),
    ],
)
def test_one_hole(bits: int, source: str, expected: Hole) -> None:
    assert holes(source, bits) == (expected,)


def test_two_holes_in_one_instruction() -> None:
    assert holes("mov dword ptr [sym], offset other") == (
        Hole(2, 4, "sym", 0, False, 0, False),
        Hole(6, 4, "other", 0, False, 0, False),
    )


def test_holes_count_from_the_start_of_the_code() -> None:
    code = assemble("nop\nand word ptr fs:[sym], 0xff\njz done\ncall other\ndone:", 32, {"sym", "other"})
    assert code.data.hex() == "906466812500000000ff007405e800000000"
    assert code.holes == (Hole(5, 4, "sym", 0, False, 0, False), Hole(14, 4, "other", 0, True, 18, True))
    assert [i.text for i in code.instructions] == [
        "nop",
        "and word ptr fs:[sym], 0xff",
        "je done",
        "call other",
    ]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("mov byte ptr fs:[sym+1],1", "mov byte ptr fs:[sym + 1], 1"),
        ("mov eax, [eax*4 + sym - 32]", "mov eax, dword ptr [eax*4 + sym - 0x20]"),
        ("MOV EAX, OFFSET sym", "mov eax, offset sym"),
        ("call sym+4", "call sym + 4"),
        ("jz short sym", "je short sym"),
        # these numbers stand for symbols inside the assembler
        ("mov dword ptr [sym], 0x21324355", "mov dword ptr [sym], 0x21324355"),
        ("mov dword ptr [0x12345671], offset sym", "mov dword ptr [0x12345671], offset sym"),
        ("mov byte ptr [eax + 0x31], offset sym", "mov byte ptr [eax + 0x31], offset sym"),
    ],
)
def test_text_names_the_symbol(source: str, text: str) -> None:
    assert assemble(source, 32, ["sym"]).instructions[0].text == text


@pytest.mark.parametrize("site", [0x400000, 0x400010])
def test_a_filled_byte_branch_goes_where_gnu_as_goes(gnu_as: Judge, fill: Callable[..., bytes], site: int) -> None:
    for mnemonic in ("loop", "jmp short", "jz short"):
        code = assemble(f"{mnemonic} sym", 32, ["sym"])
        (judged,) = gnu_as([f"{mnemonic} . + 0x20"], 32)
        assert judged is not None
        assert fill(code, site, {"sym": site + 0x20}, 32) == judged[1]


def test_a_symbol_is_not_a_register_in_disguise() -> None:
    with pytest.raises(AsmErrors):
        assemble("mov eax, [sym", 32, ["sym"])
