"""Labels and the shortest branches that reach them."""

from collections.abc import Callable, Sequence

import pytest

from pvspec.x86.assembler import AsmErrors, assemble

Judge = Callable[[list[str], int], list[tuple[int, bytes] | None]]


def nops(count: int) -> str:
    return "nop\n" * count


def assembled(source: str, bits: int = 32, symbols: Sequence[str] = ()) -> bytes:
    return assemble(source, bits, symbols).data


def refused(source: str, bits: int = 32, symbols: Sequence[str] = ()) -> list[tuple[str, str]]:
    with pytest.raises(AsmErrors) as raised:
        assemble(source, bits, symbols)
    return [(error.message, source[error.start : error.end]) for error in raised.value.errors]


@pytest.mark.parametrize(
    ("count", "start"), [(0, "eb00"), (126, "eb7e"), (127, "eb7f"), (128, "e980000000"), (300, "e92c010000")]
)
def test_forward(count: int, start: str) -> None:
    assert assembled(f"jmp done\n{nops(count)}done:") == bytes.fromhex(start) + b"\x90" * count


@pytest.mark.parametrize(("count", "end"), [(125, "7481"), (126, "7480"), (127, "0f847bffffff")])
def test_backward(count: int, end: str) -> None:
    assert assembled(f"again: {nops(count)}jz again") == b"\x90" * count + bytes.fromhex(end)


def test_one_long_branch_makes_another_one_long() -> None:
    # The first reaches only as long as the second, which does not reach, is short.
    data = assembled(f"jmp one\njmp two\n{nops(125)}one:\n{nops(10)}two:")
    assert data[:10] == bytes.fromhex("e982000000 e987000000")


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("statement", ["jmp short {}", "jz short {}", "cs jnz short {}", "xbegin {}"])
def test_gnu_as_agrees_on_branches_of_one_size(gnu_as: Judge, bits: int, statement: str) -> None:
    source = f"back: {statement.format('back')}; {statement.format('on')}; nop; {statement.format('back')}; on: nop"
    (judged,) = gnu_as([source], bits)
    assert judged is not None
    assert assembled(source, bits) == judged[1]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("mnemonic", ["jmp", "jz", "jnle", "call"])
@pytest.mark.parametrize("count", [0, 1, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130])
def test_gnu_as_agrees(gnu_as: Judge, bits: int, mnemonic: str, count: int) -> None:
    source = f"2: {mnemonic} 3f; {mnemonic} 2b;" + "nop;" * count + f"{mnemonic} 2b; {mnemonic} 3f; 3: nop"
    ours = source.replace("2:", "back:").replace("3:", "on:").replace("2b", "back").replace("3f", "on")
    (judged,) = gnu_as([source], bits)
    assert judged is not None
    assert assembled(ours, bits) == judged[1]


@pytest.mark.parametrize(
    ("source", "bits", "data"),
    [
        ("x: loop x", 32, "e2fe"),
        ("x: jecxz x", 32, "e3fe"),
        ("x: jecxz x", 64, "67e3fd"),
        ("x: jrcxz x", 64, "e3fe"),
        ("call x; x:", 64, "e800000000"),
        ("cs jz x; x: nop", 32, "2e740090"),
        ("x: jmp short x", 32, "ebfe"),
        ("jnz SHORT x; x:", 64, "7500"),
        ("x: jecxz short x", 64, "67e3fd"),
        ("x: xbegin x", 32, "c7f8faffffff"),
        ("nop; xbegin x; nop; x:", 64, "90c7f80100000090"),
    ],
)
def test_branches_with_a_single_form(source: str, bits: int, data: str) -> None:
    assert assembled(source, bits).hex() == data


def test_labels_anywhere() -> None:
    code = assemble("a: b:\n  nop; c: jmp a\njmp c ;; jmp end # to the end: of it\nend:", 32, ())
    assert code.data.hex() == "90ebfdebfceb00"
    assert [(i.offset, i.size, i.text, i.source) for i in code.instructions] == [
        (0, 1, "nop", "nop"),
        (1, 2, "jmp a", "jmp a"),
        (3, 2, "jmp c", "jmp c"),
        (5, 2, "jmp end", "jmp end"),
    ]


def test_a_branch_that_cannot_grow() -> None:
    source = f"x: {nops(200)}loop x"
    assert refused(source) == [("`x` is out of reach for `loop`", "loop x")]
    assert refused(source.replace("loop", "jmp short")) == [("`x` is out of reach for `jmp`", "jmp short x")]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x: x: nop", ("`x` is already a label", "x")),
        ("sym: nop", ("`sym` is already a symbol", "sym")),
        ("eax: nop", ("`eax` is already a register", "eax")),
        ("x: mov eax, offset x", ("label `x` can only be the target of a branch", "offset x")),
        ("x: jmp x + 1", ("a branch goes to a label itself, without an offset", "x + 1")),
        ("x: call short x", ("only a jump is `short`", "short x")),
        ("x: mov eax, short 5", ("only a jump is `short`", "short 5")),
        ("x: jmp short x + 1", ("a branch goes to a label itself, without an offset", "short x + 1")),
        ("jmp y", ("`y` is not a register, label or symbol", "y")),
    ],
)
def test_wrong_labels(source: str, error: tuple[str, str]) -> None:
    assert refused(source, symbols=["sym"]) == [error]
