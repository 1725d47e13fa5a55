"""The machine: width, features, nop tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pvspec.engine.command_line import Variable
from pvspec.engine.guards import Guard
from pvspec.engine.spec import Architecture
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import Scope, guard
from pvspec.lang.check.names import Declared, look_up
from pvspec.lang.check.numbers import check_names, constants, evaluate, hex_bytes, in_range
from pvspec.lang.diagnostics import Findings, count

MAX_FEATURE = (1 << 16) - 1
"""The largest number of a CPU feature; a larger one is refused (PV202)."""
MAX_NOP = 15
"""Bytes of the longest nop, since no x86 instruction is longer; a longer one is refused (PV204)."""
_BYTE = 15  # units of work that a byte of a nop costs


def together(items: Sequence[ast.Machine], name: str | None) -> ast.Machine:
    """One machine of all its blocks, at least one; `name`: which of theirs it is, None if they have one only."""
    first = items[0]
    mine = next((each for each in first.names if each.text == name), first.names[0])
    return ast.Machine(
        first.span,
        (mine,),
        tuple(part for item in items for part in item.bits),
        tuple(part for item in items for part in item.features),
        tuple(part for item in items for part in item.nops),
        tuple(part for item in items for part in item.choices),
        tuple(part for item in items for part in item.texts),
        tuple(part for item in items for part in item.constants),
    )


def machine(item: ast.Machine, variables: Mapping[str, Variable], findings: Findings) -> Architecture:
    """The machine; invalid parts are replaced by harmless ones."""
    features, always, shown = _features(item, findings)
    tables = Declared[tuple[bytes, ...]]("nop table", findings)
    for nops in item.nops:
        tables.declare(nops.name, _nop_table(nops, findings))
    scope = Scope(features=features, nops=tables, variables=variables)
    return Architecture(
        item.names[0].text,
        _bits(item, findings),
        features,
        always,
        dict(tables),
        tuple(_choices(item, tables, scope, findings)),
        shown,
        frozenset(nops.name.text for nops in item.nops if nops.jumps),
    )


def text_range(item: ast.Machine, findings: Findings) -> tuple[int, int] | None:
    """The range that the machine's text may be in, if it declares one."""
    limit = 1 << _bits(item, Findings())
    for text in item.texts:
        if not text.start.value < text.end.value <= limit:
            findings.add(
                "PV202", "empty or inverted text range", (text.span, f"must be START .. END, with END up to {limit:#x}")
            )
            return None
    if len(item.texts) > 1:
        findings.add("PV102", "`text` is declared twice", *((text.span, "") for text in reversed(item.texts)))
    return next(((text.start.value, text.end.value) for text in item.texts), None)


def _bits(item: ast.Machine, findings: Findings) -> int:
    if len(item.bits) > 1:
        findings.add("PV102", "`bits` is declared twice", *((bits.span, "") for bits in reversed(item.bits)))
    if not item.bits:
        findings.add(
            "PV104",
            f"machine `{item.names[0].text}` needs one `bits`",
            (item.names[0].span, "add `bits 32` or `bits 64`"),
        )
        return 32
    bits = item.bits[0]
    if bits.value not in (32, 64):
        findings.add("PV202", f"a machine cannot be {bits.value}-bit", (bits.span, "must be 32 or 64"))
        return 32
    return bits.value


def _features(item: ast.Machine, findings: Findings) -> tuple[dict[str, int], frozenset[int], dict[str, int]]:
    """Features by name, those of every CPU, and features by the names of /proc/cpuinfo."""
    features, shown = Declared[int]("feature", findings), Declared[int]("name in /proc/cpuinfo", findings)
    named = constants(item.constants, findings)
    for feature in item.features:
        number = -1 - len(features) if feature.number is None else _number(feature.number, named, findings)
        features.declare(feature.name, number)
        if feature.shown is not None:
            kind = "bug " if feature.name.text.startswith("BUG_") else ""
            shown.declare(ast.Name(feature.shown.span, kind + feature.shown.value), number)
    return dict(features), frozenset(features[f.name.text] for f in item.features if f.always), dict(shown)


def _number(expr: ast.Expr, named: Mapping[str, int], findings: Findings) -> int:
    check_names(expr, named, "number", findings)
    return in_range(ast.Number(expr.span, max(0, evaluate(expr, named))), 0, MAX_FEATURE, "feature", findings)


def _nop_table(nops: ast.Nops, findings: Findings) -> tuple[bytes, ...]:
    findings.work.add(_BYTE * sum(len(entry.value) for entry in nops.entries) // 2, "its nops", nops.span)
    table = [hex_bytes(entry, findings) for entry in nops.entries]
    for index, (entry, code) in enumerate(zip(nops.entries, table, strict=True), 1):
        if len(code) != index or index > MAX_NOP:
            findings.add(
                "PV204",
                f"nop {index} of `{nops.name.text}` is {count(len(code), 'byte')} long",
                (entry.span, f"must be {index}"),
            )
    return tuple(table)


def _choices(
    item: ast.Machine, tables: Mapping[str, tuple[bytes, ...]], scope: Scope, findings: Findings
) -> list[tuple[str, Guard | None]]:
    choices = []
    for choice in item.choices:
        if look_up(tables, choice.nops, "nop table", findings) is not None:
            choices.append((choice.nops.text, guard(choice.guard, scope, findings)))
    if not item.choices:
        findings.add(
            "PV104",
            f"machine `{item.names[0].text}` does not `choose nops`",
            (item.names[0].span, "padding needs a nop table"),
        )
    elif item.choices[-1].guard is not None:
        findings.add(
            "PV104",
            "on some CPUs no nop table is chosen",
            (item.choices[-1].span, "the last choice must have no guard"),
        )
    return choices
