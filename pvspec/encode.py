"""One statement to bytes with holes: spelled for the assembler, answered, put right where it is known to lie, read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from pvspec.decode import Field, Reading, read
from pvspec.encodings import (
    BRANCHES,
    DONOR_DIGIT,
    DONOR_OPCODE,
    FAR_POINTERS,
    FIXED,
    HIGH_BYTES,
    LONG_VECTORS,
    NO_OPERAND_SIZE,
    ONE_WIDTH,
    PREFIX_BYTES,
    PREFIX_RANK,
    PREFIX_USERS,
    STRINGS,
    TRANSPLANTS,
    WORD_STORES,
)
from pvspec.intel import (
    GENERAL_SIZES,
    SEGMENTS,
    AsmError,
    Immediate,
    Memory,
    Operand,
    Register,
    Statement,
    Value,
    format_statement,
)
from pvspec.machinecode import Hole
from pvspec.readback import address_width, check_reading

Assembler = Callable[[str], bytes | None]
# Numbers that stand for symbols. They fit a signed field of their width and not a narrower one; two sets, as what
# changes between them is the field.
_STAND_INS = {
    8: ((0x123456789ABCDE01, 0x2132435465768703), (0x6EDCBA9876543F02, 0x5F6E7D8C9BAAB904)),
    4: ((0x12345671, 0x21324355), (0x6DCBA98E, 0x5E6D7C8A)),
    2: ((0x1231, 0x2135), (0x6DCE, 0x5E7A)),
    1: ((0x31, 0x35), (0x4E, 0x4A)),
}
_SIZES = (1, 2, 4, 8, 16, 32)
_STACK_WIDTH = ("call", "jmp", "push", "pop")  # without a size these move what the mode's stack slots hold


@dataclass(frozen=True, slots=True)
class Encoded:
    """One instruction with zeros at its holes; `text` names the symbols."""

    data: bytes
    holes: tuple[Hole, ...]
    text: str


def encode(statement: Statement, bits: int, assembler: Assembler, widths: tuple[int, ...] = ()) -> Encoded:
    """Encode one statement whose names are all symbols and whose mnemonic is no alias.

    `widths` are the sizes that are tried for a number that stands for a symbol, in bytes, the best first.
    Raises AsmError if the assembler refuses it or if its answer does not read back as the statement.
    """
    _check_prefixes(statement)
    _check_registers(statement, bits)
    _check_string(statement)
    statement = _sized(_without_default_segment(_with_word_source(statement)), bits, assembler)
    symbolic = [n for n, operand in enumerate(statement.operands) if _value(operand).symbol is not None]
    if not symbolic:
        data, reading = _answer(statement, bits, assembler)
        return Encoded(data, (), reading.text)
    return _with_holes(statement, symbolic, bits, assembler, widths or _widths(statement))


def _with_holes(
    statement: Statement, symbolic: list[int], bits: int, assembler: Assembler, widths: tuple[int, ...]
) -> Encoded:
    error = None
    for width in widths:
        try:
            first, second = (_stand_in(statement, symbolic, width, n) for n in (0, 1))
            data, reading = _answer(first, bits, assembler)
            other, again = _answer(second, bits, assembler)
        except AsmError as raised:
            error = error or raised
            continue
        fields = [_field(statement, n, reading) for n in symbolic]
        if all(f.size for f in fields) and _blank(data, fields) == _blank(other, fields):
            holes = tuple(
                _hole(statement.operands[n], f, reading, bits) for n, f in zip(symbolic, fields, strict=True)
            )
            text = _named(reading.text, statement, first, symbolic) or _named(
                again.text, statement, second, symbolic
            )
            if text:
                return Encoded(_blank(data, fields), holes, text)
    raise error or _refused(statement)


def _widths(statement: Statement) -> tuple[int, ...]:
    return (8,) if statement.mnemonic == "movabs" else (4, 2, 1)


def _stand_in(statement: Statement, symbolic: list[int], width: int, variant: int) -> Statement:
    operands = list(statement.operands)
    for place, number in zip(symbolic, _STAND_INS[width][variant], strict=False):
        value = _STAND_INS[4][variant][0] if _is_wide_memory(operands[place], width) else number
        operands[place] = _with_value(operands[place], Value(value))
    return replace(statement, operands=tuple(operands))


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
    return Hole(field.offset, field.size, relative, value.symbol, value.number, reading.size, signed)


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
    """Put the symbols into a disassembly, None if a number of its own looks like one of the stand-ins."""
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
    return f"offset {text}" if isinstance(operand, Immediate) and operand.offset else text


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
        return replace(operand, displacement=value)
    return replace(operand, value=value) if isinstance(operand, Immediate) else operand


def _check_registers(statement: Statement, bits: int) -> None:
    names = {o.name for o in statement.operands if isinstance(o, Register)}
    addresses = {n for o in statement.operands if isinstance(o, Memory) for n in (o.base, o.index) if n}
    if bits == 32 and (absent := sorted(filter(_is_long, names | addresses))):
        raise AsmError(
            f"`{absent[0]}` is not a register of 32-bit code", None, statement.start, statement.end
        )
    stores_word = statement.mnemonic in WORD_STORES or (statement.mnemonic == "mov" and names & {*SEGMENTS})
    if stores_word and any(map(_is_wide, names)):
        raise AsmError("only 16 bits are moved", "write the 32-bit register", statement.start, statement.end)
    if names & HIGH_BYTES and (any(map(_needs_rex, names)) or any(name[1:2].isdigit() for name in addresses)):
        # keystone's way to refuse these is to abort the process
        raise AsmError(
            "`ah`, `ch`, `dh` and `bh` have no encoding here", None, statement.start, statement.end
        )


def _check_string(statement: Statement) -> None:
    """Refuse explicit operands, about which keystone prints warnings; SSE's `movsd` and `cmpsd` name a register first."""
    if statement.mnemonic in (*STRINGS, "xlatb") and statement.operands:
        names = [o.name for o in statement.operands if isinstance(o, Register)]
        if not any(name.startswith("xmm") for name in names):
            raise AsmError(
                "string instructions are written without operands", None, statement.start, statement.end
            )


def _is_long(name: str) -> bool:
    return _needs_rex(name) or name in ("rip", "eip") or name[-2:] in LONG_VECTORS


def _is_wide(name: str) -> bool:
    return name[0] == "r" and name[-1] not in "dwb"


def _needs_rex(name: str) -> bool:
    return name[0] == "r" or name in ("spl", "bpl", "sil", "dil")


def _with_word_source(statement: Statement) -> Statement:
    """Read `mov ds, eax` as `mov ds, ax`, as the disassembler does: only 16 bits are loaded."""
    match statement:
        case Statement(mnemonic="mov", operands=(Register(segment) as to, Register(name) as source)) if (
            segment in SEGMENTS and name[0] == "e"
        ):
            return replace(statement, operands=(to, replace(source, name=name[1:])))
    return statement


def _without_default_segment(statement: Statement) -> Statement:
    """Drop `ds:` or `ss:` where it is the default, as GNU as does; keystone would emit a prefix."""
    return replace(statement, operands=tuple(map(_default_segment_dropped, statement.operands)))


def _default_segment_dropped(operand: Operand) -> Operand:
    if not isinstance(operand, Memory):
        return operand
    default = "ss" if operand.base in ("esp", "ebp", "rsp", "rbp") else "ds"
    return replace(operand, segment=None) if operand.segment == default else operand


def _sized(statement: Statement, bits: int, assembler: Assembler) -> Statement:
    """Give a memory operand without a size the only one it can have, if any.

    Raises AsmError where two sizes make two different instructions.
    """
    place = next(
        (n for n, o in enumerate(statement.operands) if isinstance(o, Memory) and o.size is None), None
    )
    if place is None or statement.mnemonic == "lea":
        return statement
    if statement.mnemonic in FAR_POINTERS:
        return _with_size(statement, place, 6)
    if statement.mnemonic in _STACK_WIDTH:
        return _with_size(statement, place, bits // 8)
    if statement.mnemonic in ONE_WIDTH and (size := _general_size(statement)):
        return _with_size(statement, place, size)
    possible = [sized for sized in _all_sizes(statement, place) if _is_possible(sized, bits, assembler)]
    if len(possible) > 1:
        operand = statement.operands[place]
        raise AsmError(
            "the operand's size is not clear", "write `dword ptr […]` or the like", operand.start, operand.end
        )
    return possible[0] if possible else statement


def _general_size(statement: Statement) -> int | None:
    names = [o.name for o in statement.operands if isinstance(o, Register)]
    return next((GENERAL_SIZES[name] for name in names if name in GENERAL_SIZES), None)


def _all_sizes(statement: Statement, place: int) -> Iterator[Statement]:
    return (_with_size(statement, place, size) for size in _SIZES)


def _with_size(statement: Statement, place: int, size: int | None) -> Statement:
    operands = list(statement.operands)
    memory = operands[place]
    assert isinstance(memory, Memory)
    operands[place] = replace(memory, size=size)
    return replace(statement, operands=tuple(operands))


def _is_possible(statement: Statement, bits: int, assembler: Assembler) -> bool:
    symbolic = [n for n, operand in enumerate(statement.operands) if _value(operand).symbol is not None]
    stand_ins = (_stand_in(statement, symbolic, width, 0) for width in _widths(statement))
    return (
        any(_is_answered(s, bits, assembler) for s in stand_ins)
        if symbolic
        else _is_answered(statement, bits, assembler)
    )


def _is_answered(statement: Statement, bits: int, assembler: Assembler) -> bool:
    try:
        _answer(statement, bits, assembler)
    except AsmError:
        return False
    return True


def _answer(statement: Statement, bits: int, assembler: Assembler) -> tuple[bytes, Reading]:
    data = _prefixed(statement, _bytes(statement, bits, assembler))
    reading = read(data, bits, -len(_all_prefixes(statement)) % (1 << 64))  # keystone counts from behind ours
    if reading is None or reading.size != len(data):
        raise _refused(statement)
    check_reading(statement, reading, bits)
    return data, reading


def _check_prefixes(statement: Statement) -> None:
    prefixes = _all_prefixes(statement)
    for prefix in prefixes:
        users = PREFIX_USERS.get(prefix)
        if prefix not in PREFIX_BYTES or (users and statement.mnemonic not in users):
            raise AsmError(
                f"prefix `{prefix}` does not go with this instruction", None, statement.start, statement.end
            )
    if statement.mnemonic in BRANCHES and isinstance(next(iter(statement.operands), None), Immediate):
        _check_branch_prefixes(statement, prefixes)
    ranks = [PREFIX_RANK[PREFIX_BYTES[prefix]] for prefix in prefixes]
    if len(set(ranks)) < len(ranks):
        raise AsmError("two prefixes exclude each other", None, statement.start, statement.end)


def _check_branch_prefixes(statement: Statement, prefixes: list[str]) -> None:
    """Refuse what GNU as drops with a warning: all but the hints `cs` and `ds` before a `jmp` or `jcc`."""
    takes_hints = statement.mnemonic[0] == "j" and not statement.mnemonic.endswith("cxz")
    if set(prefixes) - ({"cs", "ds"} if takes_hints else set()):
        raise AsmError(
            "this branch takes no such prefix", 'write it as `bytes "…"`', statement.start, statement.end
        )


def _bytes(statement: Statement, bits: int, assembler: Assembler) -> bytes:
    asked = replace(
        statement, prefixes=(), operands=tuple(_question(o, statement, bits) for o in statement.operands)
    )
    text = format_statement(asked)
    answer = FIXED[bits].get(text) or _transplanted(asked, assembler) or assembler(text)
    if not answer:
        raise _refused(statement)
    return answer


def _question(operand: Operand, statement: Statement, bits: int) -> Operand:
    """Spell a memory operand so that keystone cannot misread it.

    It drops some segments (they are added to the answer), takes `[number]` for rip-relative in 64-bit mode (`riz` is its
    name for no index), and does not know the sizes of far pointers.
    """
    if not isinstance(operand, Memory):
        return operand
    operand = replace(
        operand, segment=None, size=None if statement.mnemonic in FAR_POINTERS else operand.size
    )
    if bits == 32 or operand.base or operand.index or statement.mnemonic == "movabs":
        return operand
    number = operand.displacement.number
    return replace(operand, index="riz", displacement=Value(number - (1 << 64) * (number >> 63 == 1)))


def _refused(statement: Statement) -> AsmError:
    return AsmError("no such instruction, or not with these operands", None, statement.start, statement.end)


def _prefixed(statement: Statement, data: bytes) -> bytes:
    """Add the statement's prefixes, and put all of them into the order of GNU as."""
    own = bytes(takewhile(PREFIX_RANK.__contains__, data))
    named = bytes(PREFIX_BYTES[prefix] for prefix in _all_prefixes(statement))
    kept = bytes(b for b in own if not (b == 0x66 and _has_no_operand_size(statement)))
    return bytes(sorted(named + kept, key=PREFIX_RANK.__getitem__)) + data[len(own) :]


def _all_prefixes(statement: Statement) -> list[str]:
    segments = [o.segment for o in statement.operands if isinstance(o, Memory) and o.segment]
    return [*statement.prefixes, *segments]


def _has_no_operand_size(statement: Statement) -> bool:
    if statement.mnemonic in NO_OPERAND_SIZE:
        return True
    if statement.mnemonic != "mov" or len(statement.operands) != 2:
        return False
    to, source = statement.operands
    loads = isinstance(to, Register) and to.name in SEGMENTS
    return loads or (isinstance(to, Memory) and isinstance(source, Register) and source.name in SEGMENTS)


def _transplanted(statement: Statement, assembler: Assembler) -> bytes | None:
    """Put an opcode that keystone lacks into the encoding of a `nop` with the same operand."""
    if len(statement.operands) != 1 or isinstance(statement.operands[0], Immediate):
        return None
    operand = statement.operands[0]
    row = TRANSPLANTS.get(
        (statement.mnemonic, operand.size if isinstance(operand, Memory) else GENERAL_SIZES.get(operand.name))
    )
    if row is None:
        return None
    donated = replace(operand, size=4) if isinstance(operand, Memory) else operand
    donor = assembler(format_statement(Statement((), "nop", (donated,)))) or b""
    head, found, tail = donor.partition(DONOR_OPCODE)
    if not found or not tail or tail[0] >> 3 & 7 != DONOR_DIGIT:
        return None
    legacy = bytes(b for b in head if b in PREFIX_RANK and b != 0x66)
    rex = bytes(b for b in head if b not in PREFIX_RANK)
    return legacy + row.prefix + rex + row.opcode + bytes([tail[0] & ~0x38 | row.digit << 3]) + tail[1:]
