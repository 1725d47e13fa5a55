"""Statements that keystone must not get: they abort it, make it print, or are read as something else."""

from __future__ import annotations

from pvspec.x86.encodings import (
    BRANCHES,
    FAR_POINTERS,
    HIGH_BYTES,
    LONG_VECTORS,
    PREFIX_BYTES,
    PREFIX_RANK,
    PREFIX_USERS,
    STRINGS,
    WORD_STORES,
)
from pvspec.x86.intel import SEGMENTS, SIZES, AsmError, Immediate, Memory, Register, Statement


def check_statement(statement: Statement, bits: int) -> None:
    """Raise AsmError for prefixes, registers and operands that do not go with the instruction or the mode."""
    _check_prefixes(statement)
    _check_registers(statement, bits)
    _check_string(statement)
    _check_far_pointer(statement)
    _check_addresses(statement)
    if statement.mnemonic == "nop" and len(statement.operands) > 1:  # keystone would use reserved opcodes for it
        raise AsmError("`nop` has at most one operand", None, statement.start, statement.end)


def all_prefixes(statement: Statement) -> list[str]:
    """Name the prefixes of a statement, those of its memory operands last."""
    segments = [o.segment for o in statement.operands if isinstance(o, Memory) and o.segment]
    return [*statement.prefixes, *segments]


def _check_registers(statement: Statement, bits: int) -> None:
    names = {o.name for o in statement.operands if isinstance(o, Register)}
    addresses = {n for o in statement.operands if isinstance(o, Memory) for n in (o.base, o.index) if n}
    if bits == 32 and (absent := sorted(filter(_is_long, names | addresses))):
        raise AsmError(f"`{absent[0]}` is not a register of 32-bit code", None, statement.start, statement.end)
    stores_word = statement.mnemonic in WORD_STORES or (statement.mnemonic == "mov" and names & {*SEGMENTS})
    if stores_word and any(map(_is_wide, names)):
        raise AsmError("only 16 bits are moved", "write the 32-bit register", statement.start, statement.end)
    if names & HIGH_BYTES and (any(map(_needs_rex, names)) or any(name[1:2].isdigit() for name in addresses)):
        # keystone aborts the process for these
        raise AsmError("`ah`, `ch`, `dh` and `bh` cannot be encoded here", None, statement.start, statement.end)


def _check_addresses(statement: Statement) -> None:
    """Refuse a segment that has no effect."""
    for operand in statement.operands if statement.mnemonic == "lea" else ():
        if isinstance(operand, Memory) and operand.segment:
            message, help = "`lea` does not use a segment", "remove the segment"
            raise AsmError(message, help, operand.start, operand.end)


def _check_string(statement: Statement) -> None:
    """Refuse operands, at which keystone prints warnings; SSE's `movsd` and `cmpsd` have a register."""
    if statement.mnemonic in (*STRINGS, "xlatb") and statement.operands:
        names = [o.name for o in statement.operands if isinstance(o, Register)]
        if not any(name.startswith("xmm") for name in names):
            raise AsmError("write string instructions without operands", None, statement.start, statement.end)


def _is_long(name: str) -> bool:
    return _needs_rex(name) or name in ("rip", "eip") or name[-2:] in LONG_VECTORS


def _is_wide(name: str) -> bool:
    return name[0] == "r" and name[-1] not in "dwb"


def _needs_rex(name: str) -> bool:
    return name[0] == "r" or name in ("spl", "bpl", "sil", "dil")


def _check_prefixes(statement: Statement) -> None:
    prefixes = all_prefixes(statement)
    for prefix in prefixes:
        users = PREFIX_USERS.get(prefix)
        if prefix not in PREFIX_BYTES or (users and statement.mnemonic not in users):
            raise AsmError(f"prefix `{prefix}` does not go with this instruction", None, statement.start, statement.end)
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
            "this branch cannot have such a prefix", 'write it as `bytes "…"`', statement.start, statement.end
        )


def _check_far_pointer(statement: Statement) -> None:
    """Refuse far pointers of 80 bits, for which GNU as has no spelling with a size."""
    for operand in statement.operands if statement.mnemonic in FAR_POINTERS else ():
        if isinstance(operand, Memory) and operand.size not in (None, SIZES["fword"]):
            raise AsmError("write a far pointer as `fword ptr` here", None, operand.start, operand.end)
