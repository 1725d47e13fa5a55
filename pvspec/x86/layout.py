"""Place instructions one after the other, each branch to a label in its shortest form that reaches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from pvspec.engine.value import Value
from pvspec.x86.code import Code, Hole, Instruction
from pvspec.x86.decode import read
from pvspec.x86.encode import Encoded
from pvspec.x86.intel import AsmError, Immediate, Statement


class Label(Value):
    """A label, which names the address of what follows; `start` and `end` are its position in the source."""

    name: str
    start: int
    end: int


class Placeable(Value):
    """A statement's encodings, shortest first.

    With a `target`, which is a label, each encoding has one hole: the distance to it.
    """

    statement: Statement
    source: str
    forms: tuple[Encoded, ...]
    target: str | None


class _Placed(Value):
    item: Placeable
    offset: int
    encoded: Encoded


def lay_out(items: Sequence[Label | Placeable], bits: int) -> Code:
    """Place everything, relax the branches as GNU as does (start short, lengthen until all reach), and fill them in.

    Raises AsmError for a branch that does not reach its label in its longest form.
    """
    forms = [0] * len(items)
    while True:
        offsets = list(accumulate((_size(item, form) for item, form in zip(items, forms, strict=True)), initial=0))
        labels = {item.name: offset for item, offset in zip(items, offsets, strict=False) if isinstance(item, Label)}
        placed = [
            _Placed(item, offset, item.forms[form])
            for item, offset, form in zip(items, offsets, forms, strict=False)
            if isinstance(item, Placeable)
        ]
        grown = _grown(items, placed, forms, labels)
        if grown == forms:
            return _code(placed, labels, bits)
        forms = grown


def _size(item: Label | Placeable, form: int) -> int:
    return len(item.forms[form].data) if isinstance(item, Placeable) else 0


def _grown(
    items: Sequence[Label | Placeable], placed: list[_Placed], forms: list[int], labels: dict[str, int]
) -> list[int]:
    pending = iter(placed)
    return [
        form + (isinstance(item, Placeable) and _is_too_short(next(pending), labels))
        for item, form in zip(items, forms, strict=True)
    ]


def _is_too_short(placed: _Placed, labels: dict[str, int]) -> bool:
    if placed.item.target is None:
        return False
    (hole,) = placed.encoded.holes
    reach = 1 << (8 * hole.size - 1)
    if -reach <= _distance(placed, labels) < reach:
        return False
    if placed.encoded == placed.item.forms[-1]:
        statement = placed.item.statement
        message = f"`{placed.item.target}` is out of reach for `{statement.mnemonic}`"
        (operand,) = statement.operands
        is_short = isinstance(operand, Immediate) and operand.short
        help = "remove `short`" if is_short else "branch over a `jmp`, which reaches farther"
        raise AsmError(message, help, statement.start, statement.end)
    return True


def _distance(placed: _Placed, labels: dict[str, int]) -> int:
    assert placed.item.target is not None
    return labels[placed.item.target] - placed.offset - len(placed.encoded.data)


def _code(placed: list[_Placed], labels: dict[str, int], bits: int) -> Code:
    return Code(
        b"".join(_filled(one, labels, bits) for one in placed),
        tuple(_moved(hole, one.offset) for one in placed if one.item.target is None for hole in one.encoded.holes),
        tuple(_instruction(one) for one in placed),
    )


def _filled(placed: _Placed, labels: dict[str, int], bits: int) -> bytes:
    """Fill in a branch to a label, and let the disassembler check where it goes."""
    if placed.item.target is None:
        return placed.encoded.data
    (hole,) = placed.encoded.holes
    data = bytearray(placed.encoded.data)
    distance = _distance(placed, labels).to_bytes(hole.size, "little", signed=True)
    data[hole.offset : hole.offset + hole.size] = distance
    reading = read(bytes(data), bits, placed.offset)
    if reading is None or reading.target != labels[placed.item.target]:
        statement = placed.item.statement
        raise AsmError("this branch cannot be read back", None, statement.start, statement.end)
    return bytes(data)


def _moved(hole: Hole, offset: int) -> Hole:
    return hole._replace(offset=hole.offset + offset, end=hole.end + offset if hole.relative else 0)


def _instruction(placed: _Placed) -> Instruction:
    text = placed.encoded.text
    if placed.item.target is not None:
        text = f"{text.rpartition(' ')[0]} {placed.item.target}"
    return Instruction(placed.offset, len(placed.encoded.data), text, placed.item.source)
