"""One statement to bytes with holes: its symbols become numbers for the assembler, and those become holes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvspec.engine.value import Value as Frozen
from pvspec.x86.ask import Assembler, answer, refused
from pvspec.x86.code import Hole
from pvspec.x86.decode import Field, Reading
from pvspec.x86.encodings import ALWAYS_SIZED, FAR_POINTERS, ONE_WIDTH
from pvspec.x86.intel import (
    GENERAL_SIZES,
    SEGMENTS,
    SIZE_NAMES,
    AsmError,
    Immediate,
    Memory,
    Operand,
    Register,
    Statement,
    Value,
    full_width,
)
from pvspec.x86.legality import check_statement
from pvspec.x86.readback import address_width

# Numbers in place of symbols. They fit a signed field of their width and not a narrower one; there are two sets,
# because the bytes that differ between them are the field.
_STAND_INS = {
    8: ((0x123456789ABCDE01, 0x2132435465768703), (0x6EDCBA9876543F02, 0x5F6E7D8C9BAAB904)),
    4: ((0x12345671, 0x21324355), (0x6DCBA98E, 0x5E6D7C8A)),
    2: ((0x1231, 0x2135), (0x6DCE, 0x5E7A)),
    1: ((0x31, 0x35), (0x4E, 0x4A)),
}
_SIZES = (1, 2, 4, 8, 16, 32)
_STACK_WIDTH = ("call", "jmp", "push", "pop")  # without a size, the operand is as wide as the mode's stack slots


class Encoded(Frozen):
    """One instruction with zeros at its holes; `text` names the symbols."""

    data: bytes
    holes: tuple[Hole, ...]
    text: str


def encode(statement: Statement, bits: int, assembler: Assembler, widths: tuple[int, ...] = ()) -> Encoded:
    """Encode one statement whose names are all symbols and whose mnemonic is no alias.

    `widths` are the sizes that are tried for a symbol's number, in bytes, the best first.
    Raises AsmError if the assembler refuses it or if its answer does not read back as the statement.
    """
    check_statement(statement, bits)
    asked = _sized(_without_default_segment(_in_keystones_words(statement)), bits, assembler)
    symbolic = [n for n, operand in enumerate(statement.operands) if _value(operand).symbol is not None]
    if not symbolic:
        data, reading = answer(asked, bits, assembler, statement)
        return Encoded(data, (), reading.text)
    return _with_holes(asked, statement, symbolic, bits, assembler, widths or _widths(statement))


def _with_holes(
    statement: Statement,
    written: Statement,
    symbolic: list[int],
    bits: int,
    assembler: Assembler,
    widths: tuple[int, ...],
) -> Encoded:
    error = None
    for width in widths:
        try:
            first, second = (_stand_in(statement, symbolic, width, n) for n in (0, 1))
            data, reading = answer(first, bits, assembler, _stand_in(written, symbolic, width, 0))
            other, again = answer(second, bits, assembler, _stand_in(written, symbolic, width, 1))
        except AsmError as raised:
            error = error or raised
            continue
        fields = [_field(statement, n, reading) for n in symbolic]
        if all(f.size for f in fields) and _blank(data, fields) == _blank(other, fields):
            holes = tuple(_hole(statement.operands[n], f, reading, bits) for n, f in zip(symbolic, fields, strict=True))
            text = _named(reading.text, statement, first, symbolic) or _named(again.text, statement, second, symbolic)
            if text:
                return Encoded(_blank(data, fields), holes, text)
    error = error or refused(statement)
    for operand in (statement.operands[place] for place in symbolic):
        if (operand.start, operand.end) == (error.start, error.end):  # the number is ours: the user did not write it
            message = f"the address of `{_value(operand).symbol}` does not fit here"
            raise AsmError(message, "use a wider operand", operand.start, operand.end)
    raise error


def _widths(statement: Statement) -> tuple[int, ...]:
    if any(isinstance(operand, Immediate) and operand.short for operand in statement.operands):
        return (1,)
    return (8,) if statement.mnemonic == "movabs" else (4, 2, 1)


def _stand_in(statement: Statement, symbolic: list[int], width: int, variant: int) -> Statement:
    operands = list(statement.operands)
    for place, number in zip(symbolic, _STAND_INS[width][variant], strict=False):
        value = _STAND_INS[4][variant][0] if _is_wide_memory(operands[place], width) else number
        operands[place] = _with_value(operands[place], Value(value))
    return statement.changed(operands=tuple(operands))


def _is_wide_memory(operand: Operand, width: int) -> bool:
    return isinstance(operand, Memory) and width < 4


def _field(statement: Statement, place: int, reading: Reading) -> Field:
    if isinstance(statement.operands[place], Memory):
        return reading.displacement or Field(0, 0, 0, False)
    before = sum(isinstance(operand, Immediate) for operand in statement.operands[:place])
    return reading.immediates[before]


def _hole(operand: Operand, field: Field, reading: Reading, bits: int) -> Hole:
    value = _value(operand)
    assert value.symbol is not None
    relative = _is_relative(operand, reading)
    signed = relative or field.signed
    if isinstance(operand, Memory) and not relative:
        signed = field.size * 8 < address_width(operand, bits)
    end = reading.size if relative else 0
    return Hole(field.offset, field.size, value.symbol, value.number, relative, end, signed)


def _is_relative(operand: Operand, reading: Reading) -> bool:
    if isinstance(operand, Memory):
        return operand.base in ("rip", "eip")
    return reading.target is not None


def _blank(data: bytes, fields: list[Field]) -> bytes:
    blank = bytearray(data)
    for field in fields:
        blank[field.offset : field.offset + field.size] = bytes(field.size)
    return bytes(blank)


def _named(text: str, statement: Statement, stand_in: Statement, symbolic: list[int]) -> str | None:
    """Put the symbols into a disassembly; None if another number in it looks like a symbol's."""
    for place in symbolic:
        number = rf"\b{_value(stand_in.operands[place]).number:#x}\b"
        text, count = re.subn(number, _spelling(statement.operands[place]), text)
        if count != 1:
            return None
    return text


def _spelling(operand: Operand) -> str:
    value = _value(operand)
    sign = "-" if value.number < 0 else "+"
    text = f"{value.symbol} {sign} {_number(abs(value.number))}" if value.number else str(value.symbol)
    if isinstance(operand, Immediate):
        return f"{'offset ' * operand.offset}{'short ' * operand.short}{text}"
    return text


def _number(number: int) -> str:
    return str(number) if number < 10 else hex(number)


def _value(operand: Operand) -> Value:
    match operand:
        case Immediate(value):
            return value
        case Memory(displacement=value):
            return value
        case Register():
            return Value(0)


def _with_value(operand: Operand, value: Value) -> Operand:
    if isinstance(operand, Memory):
        return operand.changed(displacement=value)
    return operand.changed(value=value) if isinstance(operand, Immediate) else operand


def _in_keystones_words(statement: Statement) -> Statement:
    """Write `mov ds, eax` as `mov ds, ax`, and `lar eax, cx` as `lar eax, ecx`: both read only 16 bits.

    Keystone expects `ecx` as the source of `lar rax, rcx`, but `rcx` as that of `lsl rax, rcx`.
    """
    match statement:
        case Statement(mnemonic="mov", operands=(Register(segment) as to, Register(name) as source)) if (
            segment in SEGMENTS and name[0] == "e"
        ):
            return statement.changed(operands=(to, source.changed(name=name[1:])))
        case Statement(mnemonic="lar" | "lsl", operands=(Register(to_name) as to, Register(name) as source)):
            size = GENERAL_SIZES.get(to_name, 0)
            if size > 2 and GENERAL_SIZES.get(name) in (2, size):
                bits = 64 if (statement.mnemonic, size) == ("lsl", 8) else 32
                return statement.changed(operands=(to, source.changed(name=full_width(name, bits))))
    return statement


def _without_default_segment(statement: Statement) -> Statement:
    """Drop `ds:` or `ss:` where it is the default, as GNU as does; keystone would emit a prefix."""
    return statement.changed(operands=tuple(map(_default_segment_dropped, statement.operands)))


def _default_segment_dropped(operand: Operand) -> Operand:
    if not isinstance(operand, Memory):
        return operand
    default = "ss" if operand.base in ("sp", "bp", "esp", "ebp", "rsp", "rbp") else "ds"
    return operand.changed(segment=None) if operand.segment == default else operand


def _sized(statement: Statement, bits: int, assembler: Assembler) -> Statement:
    """Give a memory operand without a size the only one it can have, if any.

    Raises AsmError where two sizes make two different instructions.
    """
    place = next((n for n, o in enumerate(statement.operands) if isinstance(o, Memory) and o.size is None), None)
    if place is None or statement.mnemonic == "lea":
        return statement
    if statement.mnemonic in FAR_POINTERS:
        return _with_size(statement, place, 6)
    if statement.mnemonic in _STACK_WIDTH:
        return _with_size(statement, place, bits // 8)
    if statement.mnemonic in ONE_WIDTH and (size := _general_size(statement)):
        return _with_size(statement, place, size)
    if _is_possible(statement, bits, assembler):  # the disassembler does not name a size either, so there is none
        return statement
    possible = [sized for sized in _all_sizes(statement, place) if _is_possible(sized, bits, assembler)]
    if not _needs_size(statement) and len(possible) < 2:
        return possible[0] if possible else statement
    memory = statement.operands[place]
    operands = [sized.operands[place] for sized in possible]
    sizes = [f"`{SIZE_NAMES[o.size]} ptr […]`" for o in operands if isinstance(o, Memory) and o.size is not None]
    help = f"write {' or '.join(sizes)}" if sizes else None
    raise AsmError("the operand's size is ambiguous", help, memory.start, memory.end)


def _needs_size(statement: Statement) -> bool:
    """Whether the size must be written even if the other operand fits only one size, as in `or [eax], 0x10000`."""
    has_number = any(isinstance(operand, Immediate) for operand in statement.operands)
    return statement.mnemonic in ALWAYS_SIZED or (statement.mnemonic in ONE_WIDTH and has_number)


def _general_size(statement: Statement) -> int | None:
    names = [o.name for o in statement.operands if isinstance(o, Register)]
    return next((GENERAL_SIZES[name] for name in names if name in GENERAL_SIZES), None)


def _all_sizes(statement: Statement, place: int) -> Iterator[Statement]:
    return (_with_size(statement, place, size) for size in _SIZES)


def _with_size(statement: Statement, place: int, size: int | None) -> Statement:
    operands = list(statement.operands)
    memory = operands[place]
    assert isinstance(memory, Memory)
    operands[place] = memory.changed(size=size)
    return statement.changed(operands=tuple(operands))


def _is_possible(statement: Statement, bits: int, assembler: Assembler) -> bool:
    symbolic = [n for n, operand in enumerate(statement.operands) if _value(operand).symbol is not None]
    stand_ins = (_stand_in(statement, symbolic, width, 0) for width in _widths(statement))
    return any(_is_answered(s, bits, assembler) for s in (stand_ins if symbolic else (statement,)))


def _is_answered(statement: Statement, bits: int, assembler: Assembler) -> bool:
    try:
        answer(statement, bits, assembler)
    except AsmError:
        return False
    return True
