"""A corpus of statements that assemblers get wrong: equal bytes or a located refusal, never a third thing."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.code import Code
from pvspec.x86.decode import disassemble

Judge = Callable[[list[str], int], list[tuple[int, bytes] | None]]
CASES = [
    tuple(field.strip() for field in line.split(" | "))
    for line in (Path(__file__).parent / "corpus.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SYMBOLS = ("sym", "other", "little", "middle")


def rendered(code: Code) -> str:
    parts, at = [], 0
    for hole in code.holes:
        sign = "s" if hole.signed and not hole.relative else ""
        addend = f"{hole.addend:+}" if hole.addend else ""
        how = f"{'rel' if hole.relative else 'abs'}{hole.size * 8}{sign}"
        assert not any(code.data[hole.offset : hole.offset + hole.size])
        parts += [code.data[at : hole.offset].hex(), f"{{{how} {hole.symbol}{addend}}}"]
        at = hole.offset + hole.size
    return "".join([*parts, code.data[at:].hex()])


def accepted(bits: int) -> list[str]:
    return [statement for b, statement, bytes_ in CASES if int(b) == bits and bytes_ != "REFUSED"]


@pytest.mark.parametrize(("bits", "statement", "bytes_"), CASES)
def test_statement(bits: str, statement: str, bytes_: str) -> None:
    if bytes_ != "REFUSED":
        assert rendered(assemble(statement, int(bits), SYMBOLS)) == bytes_
        return
    with pytest.raises(AsmErrors) as refused:
        assemble(statement, int(bits), SYMBOLS)
    for error in refused.value.errors:
        assert error.message
        assert 0 <= error.start < error.end <= len(statement)


def test_no_statement_stands_there_twice() -> None:
    counts = Counter((bits, statement) for bits, statement, _ in CASES)
    assert not [case for case, count in counts.items() if count > 1]
    assert len({statement for _, statement, _ in CASES}) >= 150


@pytest.mark.parametrize("bits", [32, 64])
def test_gnu_as_agrees(bits: int, gnu_as: Judge, fill: Callable[..., bytes], symbols: Mapping[str, int]) -> None:
    statements = accepted(bits)
    for statement, judged in zip(statements, gnu_as(statements, bits), strict=True):
        assert judged is not None, f"GNU as refuses {statement}"
        site, expected = judged
        ours = fill(assemble(statement, bits, SYMBOLS), site, symbols, bits)
        if statement.startswith(("lar ", "lsl ")) and ours[:1] != expected[:1]:
            ours = without_width(ours)
        assert ours.hex() == expected.hex(), statement


def without_width(code: bytes) -> bytes:
    """`lar` or `lsl` without REX.W, as newer GNU as (2.47, not 2.40) writes it: the upper half is 0 either way."""
    rex = code[0] & ~0x08
    return code[1:] if rex == 0x40 else bytes([rex]) + code[1:]


@pytest.mark.parametrize("bits", [32, 64])
def test_the_text_means_the_same_again(bits: int) -> None:
    for statement in accepted(bits):
        code = assemble(statement, bits, SYMBOLS)
        again = assemble(code.instructions[0].text, bits, SYMBOLS)
        assert (again.data, again.holes) == (code.data, code.holes), statement
        assert again.instructions[0].text == code.instructions[0].text


@pytest.mark.parametrize("bits", [32, 64])
def test_disassembly_gives_the_same_text(bits: int) -> None:
    for statement in accepted(bits):
        code = assemble(statement, bits, SYMBOLS)
        if not code.holes:
            assert [i.text for i in disassemble(code.data, bits)] == [code.instructions[0].text]
