"""Assemble one statement: in a form that keystone understands, corrected where keystone is known to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from pvspec.x86.decode import Reading, read
from pvspec.x86.encodings import (
    DONOR_DIGIT,
    DONOR_OPCODE,
    FAR_POINTERS,
    FIXED,
    NO_OPERAND_SIZE,
    PREFIX_BYTES,
    PREFIX_RANK,
    SEGMENT_QUERIES,
    TRANSPLANTS,
)
from pvspec.x86.intel import (
    AS_BYTES,
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
from pvspec.x86.legality import all_prefixes
from pvspec.x86.readback import address_width, check_reading

Assembler = Callable[[str], bytes | None]


def answer(
    statement: Statement, bits: int, assembler: Assembler, written: Statement | None = None
) -> tuple[bytes, Reading]:
    """Assemble a statement of numbers only, and read it back.

    `written` is what the user wrote, `statement` the same in another form: the answer must match what was written.
    Raises AsmError if there is no answer, or if it does not match.
    """
    data = _prefixed(statement, _bytes(statement, bits, assembler))
    address = -len(all_prefixes(statement)) % (1 << 64)  # keystone counts from the end of our prefixes
    reading = read(data, bits, address)
    if reading is not None and _is_padded(statement, reading, bits):
        data = _unpadded(data, reading)
        reading = read(data, bits, address)
    if reading is None or reading.size != len(data):
        raise refused(statement)
    check_reading(written or statement, reading, bits, sizes_may_lack=written is not None)
    return data, reading


def _is_padded(statement: Statement, reading: Reading, bits: int) -> bool:
    """Whether keystone spent a byte on the displacement 0 of `[bp + si]` or `[bp + di]`, which need none."""
    memory = next((o for o in statement.operands if isinstance(o, Memory)), None)
    if memory is None or memory.base is None or memory.index is None or address_width(memory, bits) != 16:
        return False
    return not memory.displacement.number and reading.displacement is not None


def _unpadded(data: bytes, reading: Reading) -> bytes:
    assert reading.displacement is not None
    at, size = reading.displacement.offset, reading.displacement.size
    return data[: at - 1] + bytes([data[at - 1] & 0x3F]) + data[at + size :]  # ModRM: no displacement


def _bytes(statement: Statement, bits: int, assembler: Assembler) -> bytes:
    if statement.mnemonic == "xbegin":
        return _xbegin(statement)
    asked = statement.changed(prefixes=(), operands=tuple(_question(o, statement, bits) for o in statement.operands))
    text = format_statement(asked)
    answer = FIXED[bits].get(text) or _transplanted(asked, assembler) or assembler(text)
    if not answer:
        raise refused(statement)
    return answer


def _xbegin(statement: Statement) -> bytes:
    """Encode what keystone lacks, as at address 0."""
    match statement.operands:
        case (Immediate(Value(target)),) if -(1 << 31) <= target - 6 < 1 << 31:
            return b"\xc7\xf8" + (target - 6).to_bytes(4, "little", signed=True)
    raise refused(statement)


def _question(operand: Operand, statement: Statement, bits: int) -> Operand:
    """Spell a memory operand so that keystone cannot misread it.

    It drops some segments (they are added to the answer), reads `[number]` as rip-relative in 64-bit mode (`riz`
    is its name for no index), and does not know the sizes of far pointers.
    """
    if not isinstance(operand, Memory):
        return operand
    has_no_size = statement.mnemonic in FAR_POINTERS | SEGMENT_QUERIES
    operand = operand.changed(segment=None, size=None if has_no_size else operand.size)
    if address_width(operand, bits) == 16:  # where keystone reads numbers as unsigned
        return operand.changed(displacement=Value(_signed_word(operand.displacement.number)))
    if bits == 32 or operand.base or operand.index or statement.mnemonic == "movabs":
        return operand
    number = operand.displacement.number
    return operand.changed(index="riz", displacement=Value(number - (1 << 64) * (number >> 63 == 1)))


def _signed_word(number: int) -> int:
    """A 16-bit number as a signed one; a larger one unchanged, to be refused."""
    return number - (1 << 16) if 1 << 15 <= number < 1 << 16 else number


def refused(statement: Statement) -> AsmError:
    """Return the error for a statement without an encoding."""
    help = f"check the spelling, or {AS_BYTES}"
    return AsmError("unknown instruction, or invalid operands", help, statement.start, statement.end)


def _prefixed(statement: Statement, data: bytes) -> bytes:
    """Add the statement's prefixes, and put all prefixes into the order of GNU as."""
    own = bytes(takewhile(PREFIX_RANK.__contains__, data))
    named = bytes(PREFIX_BYTES[prefix] for prefix in all_prefixes(statement))
    remaining = bytes(b for b in own if not (b == 0x66 and _has_no_operand_size(statement)))
    ranked = sorted((PREFIX_RANK[byte], byte) for byte in named + remaining)
    return bytes(byte for _, byte in ranked) + data[len(own) :]


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
    size = operand.size if isinstance(operand, Memory) else GENERAL_SIZES.get(operand.name)
    row = TRANSPLANTS.get((statement.mnemonic, size or 0))
    if row is None:
        return None
    donated = operand.changed(size=4) if isinstance(operand, Memory) else operand
    donor = assembler(format_statement(Statement((), "nop", (donated,)))) or b""
    head, found, tail = donor.partition(DONOR_OPCODE)
    if not found or not tail or tail[0] >> 3 & 7 != DONOR_DIGIT:
        return None
    legacy = bytes(b for b in head if b in PREFIX_RANK and b != 0x66)
    rex = bytes(b for b in head if b not in PREFIX_RANK)
    return legacy + row.prefix + rex + row.opcode + bytes([tail[0] & ~0x38 | row.digit << 3]) + tail[1:]
