"""Names with two meanings: where a word is looked up in two lists, no name may be in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Findings

Declared: TypeAlias = tuple[str, Mapping[str, ast.Name]]
"""What the names are, with an article, and each name as it was first declared."""


def check_ambiguities(items: Sequence[ast.Item], findings: Findings) -> None:
    """PV102 for each name with two meanings of which either could be meant."""
    interfaces = [item for item in items if isinstance(item, ast.Interface)][:1]
    backends = [item for item in items if isinstance(item, ast.Backend)]
    families = [item for item in items if isinstance(item, ast.Family)]
    chains = [item for item in items if isinstance(item, ast.Chain)]
    backend_names = "a backend", _first(item.name for item in backends)
    family_names = "a family", _first(item.name for item in families)
    _apart(("a chain", _first(item.name for item in chains)), backend_names, "an arm", findings)
    _apart(backend_names, family_names, "a `test`", findings)
    _apart(("an interface", _first(item.name for item in interfaces)), family_names, "`passes`", findings)

    options = "an option of the interface", _first(_names(*(item.options for item in interfaces)))
    symbols = "a symbol of the interface", _first(_names(*(item.symbols for item in interfaces)))
    for backend in backends:
        _backend(backend, options, symbols, findings)
    features = "a feature", _first(f.name for item in items if isinstance(item, ast.Machine) for f in item.features)
    owners: list[ast.Interface | ast.Family | ast.Chain] = [*interfaces, *families, *chains]
    shared = "a symbol", _first(_names(*(item.symbols for item in owners)))
    lines = [item for item in items if isinstance(item, ast.CommandLine)]
    variables = "a variable", _first(variable.name for line in lines for variable in line.variables)
    for family in families:
        _family(family, shared, features, variables, findings)
    switched: list[ast.Interface | ast.Family | ast.Backend] = [*interfaces, *families, *backends]
    _apart(variables, ("an option", _first(_names(*(item.options for item in switched)))), "a guard", findings)
    _defaults([*interfaces, *families], backends, findings)


def _backend(item: ast.Backend, options: Declared, symbols: Declared, findings: Findings) -> None:
    own = "a symbol of the backend", _first(_names(item.symbols))
    targets = "a symbol", _first(target.symbol for target in item.targets if target.symbol.text != "null")
    _apart(options, ("an option of the backend", _first(_names(item.options))), "", findings)
    _apart(symbols, own, "", findings)
    for rom in item.roms:
        fields = "a field of the rom's answer", _first(f.name for f in rom.fields if f.name and f.name.text != "type")
        for known in (symbols, own, targets):
            _apart(known, fields, "a branch", findings)


def _family(item: ast.Family, symbols: Declared, features: Declared, variables: Declared, findings: Findings) -> None:
    names = [field.name for table in item.tables for field in table.fields if field.name is not None]
    names += [name for sites in item.sites_of for name, _ in sites.fields]
    fields = "a field of the record", _first(names)
    reads = "a read", _first(read.name for read in item.reads)
    options = "an option", _first(_names(item.options))
    _apart(fields, reads, "a guard", findings)
    _apart(fields, options, "a guard", findings)
    _apart(reads, options, "a guard", findings)
    _apart(symbols, fields, "an arm", findings)
    _apart(symbols, reads, "an arm", findings)
    _apart(variables, fields, "a guard", findings)
    _apart(variables, reads, "a guard", findings)
    _apart(features, fields, "`cpu has`", findings)


def _apart(one: Declared, other: Declared, where: str, findings: Findings) -> None:
    """`where` says where such a name is looked up; empty if the second declaration is merely redundant."""
    for name in one[1].keys() & other[1].keys():
        findings.add(
            "PV102",
            f"`{name}` is {one[0]} and {other[0]}",
            (other[1][name].span, other[0]),
            (one[1][name].span, one[0]),
            help=f"rename one of them: {where} could mean either" if where else "remove the second declaration",
        )


def _defaults(
    shared: Iterable[ast.Interface | ast.Family], backends: Iterable[ast.Backend], findings: Findings
) -> None:
    """An option that several parts declare is one option, with one default. Only one backend is bound at a time."""
    known: dict[str, tuple[ast.Name, bool]] = {}
    for owner in shared:
        _one_default(owner.options, known, findings)
    for backend in backends:
        _one_default(backend.options, dict(known), findings)


def _one_default(options: Iterable[ast.Option], known: dict[str, tuple[ast.Name, bool]], findings: Findings) -> None:
    for option in options:
        for name in option.names:
            first, value = known.setdefault(name.text, (name, option.default.value))
            if value is not option.default.value:
                text = f"option `{name.text}` has two defaults"
                findings.add("PV102", text, (name.span, "the other default"), (first.span, "first here"))


def _names(*groups: Iterable[ast.Option | ast.Symbol]) -> Iterator[ast.Name]:
    return (name for group in groups for item in group for name in item.names)


def _first(names: Iterable[ast.Name]) -> dict[str, ast.Name]:
    found: dict[str, ast.Name] = {}
    for name in names:
        found.setdefault(name.text, name)
    return found
