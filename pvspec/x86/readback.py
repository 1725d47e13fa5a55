"""Does a disassembly match what the user wrote?

Both sides are parsed statements, so spelling does not matter; numbers are compared at the width that they are encoded
with. The statement is compared as it was written, not as it was passed to the assembler: whatever was left out or
changed on the way must come back. So this file has its own rules about default segments and operands with two names.
"""

from __future__ import annotations

from pvspec.x86.decode import Field, Reading
from pvspec.x86.encodings import ALIASES, SEGMENT_QUERIES
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
    full_width,
)
from pvspec.x86.intel_parser import parse_statement

_SYMMETRIC = ("xchg", "test")
_REPEATS = {"repe": "rep", "repz": "rep", "repnz": "repne"}


def check_reading(statement: Statement, reading: Reading, bits: int, sizes_may_lack: bool = False) -> None:
    """Compare a statement (numbers only, no aliases of mnemonics) with what its bytes decode to.

    With `sizes_may_lack`, memory without a size may have any size: for what a user wrote, as its size was inferred.
    Raises AsmError, which points at the operand that differs, or else at the whole statement.
    """
    got = parse_statement(reading.text)
    if statement.mnemonic not in _readable(got.mnemonic):
        raise _differs(statement, reading)
    if _prefixes(got) != _prefixes(statement) or not _same_segment(statement, got, reading):
        raise _differs(statement, reading)
    wanted = _explicit(statement)
    if len(wanted) != len(got.operands):
        raise _differs(statement, reading)
    if statement.mnemonic in _SYMMETRIC and (_kinds(wanted) != _kinds(got.operands) or wanted[::-1] == got.operands):
        wanted = wanted[::-1]
    if sizes_may_lack:
        wanted = tuple(map(_with_size_of, wanted, got.operands))
    _check_operands(statement, wanted, got.operands, reading, bits)


def _same_segment(written: Statement, got: Statement, reading: Reading) -> bool:
    """Whether the prefix (`notrack` is one) and the segment of memory are those that were written."""
    prefixes = ["ds" if prefix == "notrack" else prefix for prefix in written.prefixes]
    prefixes = [prefix for prefix in prefixes if prefix in SEGMENTS]
    segments = [o.segment for o in written.operands if isinstance(o, Memory) and o.segment]
    if prefixes or not segments:
        return reading.segment == (prefixes[0] if prefixes else None)
    memory = next((operand for operand in got.operands if isinstance(operand, Memory)), None)
    return memory is not None and [reading.segment or _default_segment(memory)] == segments


def _default_segment(memory: Memory) -> str:
    """The segment of an address without a prefix: its base decides (Intel SDM vol. 1, 3.7.4)."""
    return "ss" if (memory.base or "").lstrip("er") in ("sp", "bp") else "ds"


def _with_size_of(want: Operand, have: Operand) -> Operand:
    if isinstance(want, Memory) and isinstance(have, Memory) and want.size is None:
        return want.changed(size=have.size)
    return want


def _differs(statement: Statement, reading: Reading) -> AsmError:
    return AsmError(
        "the assembler's answer does not read back as this statement",
        f"it gave `{reading.text}`; write the instruction in full, or {AS_BYTES}",
        statement.start,
        statement.end,
    )


def _readable(mnemonic: str) -> tuple[str, ...]:
    return ("mov", "movabs") if mnemonic == "movabs" else (ALIASES.get(mnemonic, mnemonic),)


def _prefixes(statement: Statement) -> list[str]:
    plain = [p for p in statement.prefixes if p not in SEGMENTS and p != "notrack"]
    return sorted(_REPEATS.get(p, p) for p in plain)


def _explicit(statement: Statement) -> tuple[Operand, ...]:
    """Expand `imul eax, 4`, which is encoded and disassembled with three operands."""
    operands = statement.operands
    if statement.mnemonic == "imul" and len(operands) == 2 and isinstance(operands[1], Immediate):
        return (operands[0], *operands)
    return operands


def _check_operands(
    statement: Statement, wanted: tuple[Operand, ...], got: tuple[Operand, ...], reading: Reading, bits: int
) -> None:
    immediates = iter(reading.immediates)
    for want, have in zip(wanted, got, strict=True):
        field = next(immediates, None) if isinstance(have, Immediate) else None
        if isinstance(want, Register) and isinstance(have, Register):
            same = _same_register(want, have, statement)
        else:
            same = _same(want, have, field, reading, bits)
        if not same:
            raise _operand_error(want, have, field, reading)


def _kinds(operands: tuple[Operand, ...]) -> list[type]:
    return [type(operand) for operand in operands]


def _same(want: Operand, have: Operand, field: Field | None, reading: Reading, bits: int) -> bool:
    if isinstance(want, Immediate) and isinstance(have, Immediate) and field is not None:
        if reading.target is not None:
            return want.value.number == reading.target
        return same_number(want.value.number, have.value.number, field.width)
    if isinstance(want, Memory) and isinstance(have, Memory):
        return _same_memory(want, have, bits)
    return want == have


def _same_register(want: Register, have: Register, statement: Statement) -> bool:
    """Whether two names mean the same: only 16 bits of a selector are read, however wide its register is."""
    to = statement.operands[0]
    takes_selector = statement.mnemonic in SEGMENT_QUERIES or (isinstance(to, Register) and to.name in SEGMENTS)
    if want == to or not takes_selector or 2 not in (GENERAL_SIZES.get(want.name), GENERAL_SIZES.get(have.name)):
        return want == have
    return full_width(want.name, 64) == full_width(have.name, 64)


def _same_memory(want: Memory, have: Memory, bits: int) -> bool:
    width = address_width(want, bits)
    if not same_number(want.displacement.number, have.displacement.number, width):
        return False
    ignored = Value(0)
    return want.changed(displacement=ignored, segment=None) == have.changed(displacement=ignored, segment=None)


def address_width(memory: Memory, bits: int) -> int:
    """The width of an address in bits, which follows from its registers."""
    name = memory.base or memory.index
    if name is None:
        return bits
    if name[0] == "r":
        return 32 if name[-1] == "d" else 64
    return 32 if name[0] == "e" else 16


def same_number(want: int, have: int, width: int) -> bool:
    """Compare modulo 2**width, `want` being in range as a signed or an unsigned number of that width."""
    return -(1 << (width - 1)) <= want < 1 << width and (want - have) % (1 << width) == 0


def _operand_error(want: Operand, have: Operand, field: Field | None, reading: Reading) -> AsmError:
    message = "the assembler's answer does not read back as this operand"
    answer = f"the assembler's answer reads `{reading.text}`"
    match want:
        case Immediate(Value(number)) if field is not None and reading.target is None and field.width:
            return AsmError(f"{number} does not fit {field.width} bits here", answer, want.start, want.end)
        case Memory(_, _, _, _, _, Value(number)) if isinstance(have, Memory) and want.base == have.base:
            if want.size == have.size and (want.index, want.scale) == (have.index, have.scale):
                message = f"the displacement {number:#x} does not fit this address"
                return AsmError(message, answer, want.start, want.end)
            if want.size and want.size != have.size:
                return AsmError("the operand has the wrong size for this instruction", answer, want.start, want.end)
        case Register(name) if isinstance(have, Register):
            message = f"`{name}` cannot be encoded here"
    return AsmError(message, f"{answer}; {AS_BYTES}", want.start, want.end)
