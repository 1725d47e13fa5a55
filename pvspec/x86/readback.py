"""Does a disassembly say what the statement said?

Both sides are parsed statements, so that nothing depends on spelling; numbers are compared at the width that the
encoding gives them.
"""

from __future__ import annotations

from pvspec.x86.decode import Field, Reading
from pvspec.x86.encodings import ALIASES
from pvspec.x86.intel import (
    SEGMENTS,
    AsmError,
    Immediate,
    Memory,
    Operand,
    Register,
    Statement,
    Value,
)
from pvspec.x86.intel_parser import parse_statement

_SYMMETRIC = ("xchg", "test")
_REPEATS = {"repe": "rep", "repz": "rep", "repnz": "repne"}


def check_reading(statement: Statement, reading: Reading, bits: int) -> None:
    """Compare a statement (numbers only, aliases resolved) with what its bytes decode to.

    Raises AsmError, which points at the operand that differs, or else at the whole statement.
    """
    got = parse_statement(reading.text)
    if statement.mnemonic not in _readable(got.mnemonic):
        raise _differs(statement, reading)
    if _prefixes(got) != _prefixes(statement) or segment_of(statement) != reading.segment:
        raise _differs(statement, reading)
    wanted = _explicit(statement)
    if len(wanted) != len(got.operands):
        raise _differs(statement, reading)
    _check_operands(statement, wanted, got.operands, reading, bits)


def segment_of(statement: Statement) -> str | None:
    """Name the segment prefix that a statement asks for, `notrack` being `ds`."""
    named = ["ds" if prefix == "notrack" else prefix for prefix in statement.prefixes]
    named = [prefix for prefix in named if prefix in SEGMENTS]
    named += [o.segment for o in statement.operands if isinstance(o, Memory) and o.segment]
    return named[0] if named else None


def _differs(statement: Statement, reading: Reading) -> AsmError:
    return AsmError(
        "the assembler's answer cannot be read back as this statement",
        f"it gave `{reading.text}`; write the instruction in full",
        statement.start,
        statement.end,
    )


def _readable(mnemonic: str) -> tuple[str, ...]:
    return ("mov", "movabs") if mnemonic == "movabs" else (ALIASES.get(mnemonic, mnemonic),)


def _prefixes(statement: Statement) -> list[str]:
    plain = [p for p in statement.prefixes if p not in SEGMENTS and p != "notrack"]
    return sorted(_REPEATS.get(p, p) for p in plain)


def _explicit(statement: Statement) -> tuple[Operand, ...]:
    """Write out `imul eax, 4`, which is encoded, and read, with three operands."""
    operands = statement.operands
    if statement.mnemonic == "imul" and len(operands) == 2 and isinstance(operands[1], Immediate):
        return (operands[0], *operands)
    return operands


def _check_operands(
    statement: Statement, wanted: tuple[Operand, ...], got: tuple[Operand, ...], reading: Reading, bits: int
) -> None:
    if statement.mnemonic in _SYMMETRIC and (_kinds(wanted) != _kinds(got) or wanted[::-1] == got):
        wanted = wanted[::-1]
    immediates = iter(reading.immediates)
    for want, have in zip(wanted, got, strict=True):
        field = next(immediates, None) if isinstance(have, Immediate) else None
        if not _same(want, have, field, reading, bits):
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


def _same_memory(want: Memory, have: Memory, bits: int) -> bool:
    width = address_width(want, bits)
    if not same_number(want.displacement.number, have.displacement.number, width):
        return False
    ignored = Value(0)
    return want.changed(displacement=ignored, segment=None) == have.changed(displacement=ignored, segment=None)


def address_width(memory: Memory, bits: int) -> int:
    """Tell the width of an address in bits, which its registers decide."""
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
    help: str | None = f"the assembler's answer reads `{reading.text}`"
    message = "the assembler's answer cannot be read back as this operand"
    match want:
        case Immediate(Value(number)) if field is not None and reading.target is None:
            message = f"{number} does not fit {field.width} bits here" if field.width else message
        case Memory(_, _, _, _, _, Value(number)) if isinstance(have, Memory) and want.base == have.base:
            if want.size == have.size:
                message = f"the displacement {number:#x} does not fit this address"
            elif want.size:
                message = "the operand's size is not the instruction's"
        case Register(name) if isinstance(have, Register):
            message = f"`{name}` cannot be encoded here"
    return AsmError(message, help, want.start, want.end)
