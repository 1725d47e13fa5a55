"""Families: tables of sites with a rule of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pvspec.engine.spec import ELSEWHERE, Architecture, Field, Layout, Read
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.chains import chains, reached
from pvspec.lang.check.guards import Scope
from pvspec.lang.check.names import Declared, option_names, protected_names, symbol_names, unknown
from pvspec.lang.check.numbers import in_range
from pvspec.lang.check.records import the_table
from pvspec.lang.check.rules import ArmScope, chain
from pvspec.lang.diagnostics import Findings

MAX_SITE = 0xFFFF
"""Bytes of the sites of a family; a longer `len` is refused (PV202)."""
_SHARED = 4  # names that several parts share and that cost a unit of work in each


class Common(Value):
    """What all families may name: what all guards may, the symbols that any family declares, and the chains."""

    scope: Scope
    symbols: Mapping[str, model.Symbol]
    chains: Mapping[str, ast.Chain]


def family(
    item: ast.Family,
    machine: Architecture,
    interface: model.Interface | None,
    common: Common,
    findings: Findings,
) -> model.Family | None:
    """One family, None if it has no usable record."""
    record = _layout(item, machine, findings)
    if record is None:
        return None
    length = _length(item, record, findings)
    options = option_names(item.options, findings)
    used = reached(item.arms, common.chains)
    declared = [*item.symbols, *(symbol for chain in used.values() for symbol in chain.symbols)]
    symbols = symbol_names(declared, machine.bits, frozenset(), findings)
    shared = len(common.symbols) + len(common.chains) + (len(interface.names.symbols) if interface is not None else 0)
    findings.work.add(shared // _SHARED, "what its families share", item.name.span)
    fields = frozenset(field.name for field in record.fields)
    reads = _reads(item, fields, symbols, findings)
    calls_ops = interface is not None and interface.functions is not None
    scope = ArmScope(
        features=common.scope.features,
        options=options,
        symbols={**(interface.names.symbols if interface else {}), **common.symbols, **symbols},
        fields=fields,
        reads=reads,
        ops=calls_ops,
        site=True,
        op_names=interface.ops if interface else (),
        backends=common.scope.backends,
        nops=common.scope.nops,
        variables=common.scope.variables,
        configs=common.scope.configs,
        bits=machine.bits,
        targets=frozenset({*fields, *reads, *(["target"] if calls_ops else [])}),
    )
    scope = scope.changed(chains=chains(used, scope, findings))
    stacked, relaid = item.stacked[:1], item.relaid[:1]
    return model.Family(
        item.name.text,
        item.name.span,
        record,
        length,
        any(length.value is None for length in item.lengths),
        _place(item, scope, findings),
        bool(stacked),
        any(word.longest for word in stacked),
        bool(relaid),
        any(word.throughout for word in relaid),
        reads,
        model.Names(dict(options), dict(symbols), protected_names(item.protects, findings)),
        chain(item.arms, scope, findings),
    )


def _layout(item: ast.Family, machine: Architecture, findings: Findings) -> Layout | None:
    """The record, of a table or of symbols."""
    if not item.sites_of:
        return the_table("family", item.name, item.tables, {}, findings)
    if len(item.sites_of) + len(item.tables) > 1:
        findings.add(
            "PV104",
            f"family `{item.name.text}` takes its sites from two sources",
            (item.sites_of[0].span, "remove this one or the other"),
        )
    (sites,) = item.sites_of[:1]
    fields = Declared[ast.Text]("field", findings)
    fields.declare(ast.Name(sites.pattern.span, "site"), sites.pattern)
    for name, pattern in sites.fields:
        fields.declare(name, pattern)
    for pattern in fields.values():
        if pattern.value.count("*") != sites.pattern.value.count("*") or pattern.value.count("*") > 1:
            findings.add(
                "PV305",
                "the patterns differ in their number of `*`",
                (pattern.span, "use one `*` in each, or none in either"),
            )
    bits = machine.bits
    laid = tuple(Field(name, index * bits, bits) for index, name in enumerate(fields))
    patterns = {name: pattern.value for name, pattern in fields.items()}
    return Layout(sites.pattern.value, len(laid) * bits // 8, laid, patterns=patterns)


def _reads(
    item: ast.Family, fields: Collection[str], symbols: Mapping[str, model.Symbol], findings: Findings
) -> dict[str, Read]:
    reads = Declared[Read]("read", findings)
    for read in item.reads:
        base = read.base.text
        if base not in fields and base not in reads and base not in symbols and base != ELSEWHERE:
            known = [*fields, *reads, *symbols, ELSEWHERE]
            unknown(read.base, "field, read or symbol", known, findings)
        size = 0 if read.type.text == "branch" else int(read.type.text[1:]) // 8
        signed = read.type.text.startswith("s")
        reads.declare(read.name, Read(read.base.text, read.addend, size, signed, read.built))
    return dict(reads)


def _place(item: ast.Family, scope: ArmScope, findings: Findings) -> tuple[str, int]:
    """The value that says where the site is, and the bytes to add to it."""
    if len(item.site_at) + ("site" in scope.fields and not (item.sites_of and item.site_at)) != 1:
        findings.add(
            "PV104",
            f"family `{item.name.text}` must state exactly once where its sites are",
            (item.name.span, "declare a field `site` in the record, or write `site`"),
        )
    for at in item.site_at:
        if not scope.has_value(at.name.text):
            unknown(at.name, "field", scope.values, findings)
        return at.name.text, at.addend
    return "site", 0


def _length(item: ast.Family, record: Layout, findings: Findings) -> int | None:
    has_field = any(field.name == "len" for field in record.fields)
    if len(item.lengths) + has_field != 1:
        findings.add(
            "PV104",
            f"family `{item.name.text}` must state exactly once how long its sites are",
            (item.name.span, "declare a field `len` in the record, or write `len`"),
        )
    for length in item.lengths:
        return None if length.value is None else in_range(length.value, 1, MAX_SITE, "len", findings)
    return None
