"""Assemble Intel-syntax source to code with holes, with keystone.

Keystone 0.9.2 returns wrong code where it should refuse, so it gets one statement per call, with literal numbers only,
and every answer is read back. Never set its `syntax` or its `sym_resolver`: it then reads numbers as hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain

from pvspec.support.suggestions import Suggestions
from pvspec.x86.code import Code
from pvspec.x86.encode import Encoded, encode
from pvspec.x86.encodings import ALIASES, ALIASES_BY_MODE, BRANCHES, IMPLIED, REFUSED
from pvspec.x86.intel import (
    REGISTERS,
    AsmError,
    Immediate,
    Memory,
    Operand,
    Register,
    Statement,
    Value,
)
from pvspec.x86.intel_parser import parse_statement
from pvspec.x86.layout import Label, Placeable, lay_out
from pvspec.x86.statements import StatementCache

MAX_SOURCE = 1 << 16
"""Characters of the code of one arm, in assembly; longer code is refused (PV401)."""
_STATEMENT = re.compile(r"[^;\n]+")
_COMMENT = re.compile(r"#[^\n]*")
_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*)\s*:", re.ASCII)
_ANY_LABEL = "<label>"  # in place of every label, so that equal branches to different labels are encoded once


_IN_MEMORY = StatementCache()  # lasts as long as the process


class AsmErrors(Exception):
    """All errors in a source, in its order."""

    def __init__(self, errors: tuple[AsmError, ...]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def statements(source: str) -> int:
    """How many statements a source has, at most."""
    return source.count(";") + source.count("\n") + 1


def assemble(
    source: str,
    bits: int,
    symbols: Collection[str],
    cache: StatementCache = _IN_MEMORY,
    suggestions: Suggestions | None = None,
) -> Code:
    """Assemble statements, separated by newlines or `;`, for a 32- or 64-bit machine.

    A name in `symbols` becomes a hole; labels are local. Branches to labels are short where that reaches.
    `cache` has statements that were encoded before; `suggestions` are for misspelt names. Raises AsmErrors with every
    error of the source.
    """
    if len(source) > MAX_SOURCE:
        message = f"code of more than {MAX_SOURCE} characters"
        raise AsmErrors((AsmError(message, "no site holds that much", MAX_SOURCE, len(source)),))
    errors: list[AsmError] = []
    lines = list(_lines(source, errors))
    labels = _labels(lines, symbols, errors)
    names = _Names(labels, symbols, suggestions or Suggestions())
    items: list[Label | Placeable] = []
    for line in lines:
        try:
            items.append(line if isinstance(line, Label) else _item(source, line, bits, names, cache))
        except AsmError as error:
            errors.append(error)
    if not errors:
        try:
            return lay_out(items, bits)
        except AsmError as error:
            errors.append(error)
    raise AsmErrors(tuple(sorted(errors, key=lambda error: error.start)))


def _lines(source: str, errors: list[AsmError]) -> Iterator[Label | Statement]:
    for found in _STATEMENT.finditer(_COMMENT.sub(lambda comment: " " * len(comment[0]), source)):
        text, start, at = found[0], found.start(), 0
        while label := _LABEL.match(text, at):
            yield Label(label[1], start + label.start(1), start + label.end(1))
            at = label.end()
        if text[at:].strip():
            try:
                yield parse_statement(text[at:], start + at)
            except AsmError as error:
                errors.append(error)


def _labels(lines: list[Label | Statement], symbols: Collection[str], errors: list[AsmError]) -> set[str]:
    names: set[str] = set()
    for label in lines:
        if not isinstance(label, Label):
            continue
        if label.name in names or label.name in symbols or label.name.lower() in REGISTERS:
            what = "label" if label.name in names else "symbol" if label.name in symbols else "register"
            errors.append(AsmError(f"`{label.name}` is already a {what}", "rename the label", label.start, label.end))
        names.add(label.name)
    return names


@dataclass(frozen=True)
class _Names:
    """What the statements of a source may name."""

    labels: set[str]
    symbols: Collection[str]
    suggestions: Suggestions


def _item(source: str, statement: Statement, bits: int, names: _Names, cache: StatementCache) -> Placeable:
    statement = _unaliased(statement, bits)
    is_branch = statement.mnemonic in BRANCHES
    _check_short(statement)
    target = _checked_target(statement, names) if is_branch else None
    for operand in statement.operands if target is None else ():
        _check_names(operand, is_branch, names)
    text = source[statement.start : statement.end]
    if target is None:
        forms = cache.forms(statement, bits, "statement", lambda: (encode(statement, bits, _assembler(bits)),))
        return Placeable(statement, text, forms, None)
    return _to_label(statement, bits, target, text, cache)


def _unaliased(statement: Statement, bits: int) -> Statement:
    mnemonic = ALIASES.get(statement.mnemonic, statement.mnemonic)
    if mnemonic in REFUSED[bits]:
        help = REFUSED[bits][mnemonic]
        raise AsmError(
            f"`{statement.mnemonic}` is not an accepted mnemonic",
            f"write {help}" if help else None,
            statement.start,
            statement.end,
        )
    implied = IMPLIED[bits].get(mnemonic)
    operands = (Register(implied),) if implied and not statement.operands else statement.operands
    return statement.changed(mnemonic=ALIASES_BY_MODE[bits].get(mnemonic, mnemonic), operands=operands)


def _check_short(statement: Statement) -> None:
    jumps = statement.mnemonic in BRANCHES and statement.mnemonic not in ("call", "xbegin")
    for operand in statement.operands if not jumps else ():
        if isinstance(operand, Immediate) and operand.short:
            raise AsmError("only a jump is `short`", "remove `short`", operand.start, operand.end)


def _checked_target(statement: Statement, names: _Names) -> str | None:
    """Return the label that a branch goes to, None if it goes to a symbol or through an operand."""
    if len(statement.operands) != 1 or not isinstance(statement.operands[0], Immediate):
        return None
    operand = statement.operands[0]
    name = operand.value.symbol
    if name is None:
        raise AsmError(
            "a branch out of the code must go to a symbol", "declare a symbol for it", operand.start, operand.end
        )
    if operand.offset or name not in names.labels:
        return None
    if operand.value.number:
        raise AsmError("a branch goes to a label itself, without an offset", None, operand.start, operand.end)
    return name


def _check_names(operand: Operand, is_branch: bool, names: _Names) -> None:
    if isinstance(operand, Register):
        return
    name = (operand.displacement if isinstance(operand, Memory) else operand.value).symbol
    if name is None:
        return
    if name in names.labels:
        raise AsmError(f"label `{name}` can only be the target of a branch", None, operand.start, operand.end)
    if name not in names.symbols:
        raise _unknown(name, operand, is_branch, names)
    if isinstance(operand, Immediate) and operand.offset == is_branch:
        raise _bare_name(name, operand, is_branch)


def _unknown(name: str, operand: Operand, is_branch: bool, names: _Names) -> AsmError:
    known = chain(names.labels if is_branch else REGISTERS, names.symbols)
    if name[0] == "$" and (name[1:] in names.symbols or name[1:] in (names.labels if is_branch else REGISTERS)):
        help = f"that is AT&T syntax: write `offset {name[1:]}`"
    elif "$" in name:
        help = "`$` begins a variable of `each`, and no enclosing `each` declares this one"
    elif close := names.suggestions.line(name, known):
        help = close
    elif isinstance(operand, Immediate) and not (operand.offset or is_branch):
        help = f"declare it as a symbol; then `offset {name}` is its address, `[{name}]` what is there"
    else:
        help = "declare it as a symbol"
    return AsmError(f"`{name}` is not a register, label or symbol", help, operand.start, operand.end)


def _bare_name(name: str, operand: Operand, is_branch: bool) -> AsmError:
    if is_branch:
        return AsmError("a branch takes the name without `offset`", f"write `{name}`", operand.start, operand.end)
    help = f"write `offset {name}` for its address, `[{name}]` for what is there"
    return AsmError(f"`{name}` alone is ambiguous: some assemblers read it as memory", help, operand.start, operand.end)


def _to_label(statement: Statement, bits: int, target: str, source: str, cache: StatementCache) -> Placeable:
    (operand,) = statement.operands
    assert isinstance(operand, Immediate)
    anywhere = statement.changed(operands=(operand.changed(value=Value(0, _ANY_LABEL)),))
    forms = cache.forms(anywhere, bits, "branch", lambda: _branch_forms(anywhere, bits))
    return Placeable(statement, source, forms, target)


def _branch_forms(statement: Statement, bits: int) -> tuple[Encoded, ...]:
    """Encode a branch in its short and its near form, as far as it has them."""
    forms, errors = [], []
    (target,) = statement.operands
    for size in (1,) if isinstance(target, Immediate) and target.short else (1, 4):
        try:
            encoded = encode(statement, bits, _assembler(bits), (size,))
        except AsmError as error:
            errors.append(error)
        else:
            forms += [encoded] if encoded.holes[0].size == size else []
    if not forms:
        raise errors[0]
    return tuple(forms)


@cache
def _assembler(bits: int) -> Callable[[str], bytes | None]:
    import keystone

    engine = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32 if bits == 32 else keystone.KS_MODE_64)

    @cache
    def assembler(statement: str) -> bytes | None:
        try:
            data, count = engine.asm(statement, as_bytes=True)
        except keystone.KsError:
            return None
        return data if count == 1 else None

    return assembler
