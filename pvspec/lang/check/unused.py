"""Warnings: unused declarations, features that nothing tests, decisions that never matter."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from pvspec.lang import syntax as ast
from pvspec.lang.check.chains import arms_of, reached
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span

_WORD = re.compile(r"[A-Za-z_$.][\w$.]*", re.ASCII)
_COMMENT = re.compile(r"#[^\n]*")


def check_unused(items: Sequence[ast.Item], findings: Findings) -> None:
    """PV701, PV702 and PV703, for a spec without errors. A spec that patches nothing does not use anything yet."""
    if any(isinstance(item, ast.Backend | ast.Family) for item in items):
        parts = _Parts(items, findings)
        parts.check_chains()
        parts.check_interfaces()
        parts.check_backends()
        parts.check_families()
        parts.check_features()


class _Uses:
    """The names that a part of a spec looks up; features are counted separately."""

    def __init__(self, arms: Iterable[ast.Arm] = ()) -> None:
        self.words: set[str] = set()
        self.features: set[str] = set()
        for arm in arms:
            self.guard(arm.guard)
            self.names(arm.action)
            if isinstance(arm.action, ast.Asm):
                self.code(arm.action.source)

    def guard(self, item: ast.Guard | None) -> None:
        """Count what a guard tests."""
        if isinstance(item, ast.AnyOf | ast.AllOf):
            for part in item.parts:
                self.guard(part)
        elif isinstance(item, ast.Not):
            self.guard(item.part)
        elif isinstance(item, ast.CpuHas):
            self.features.add(item.name.text)
        elif item is not None:
            self.names(item)

    def names(self, node: ast.Node) -> None:
        """Count all names in a node, whatever they refer to: so new kinds of guards and actions are covered."""
        for part in vars(node).values():
            if isinstance(part, ast.Name):
                self.words.add(part.text)

    def code(self, source: ast.Text) -> None:
        """Count the words in assembly."""
        self.words.update(_WORD.findall(_COMMENT.sub("", source.value)))

    def number(self, expr: ast.Sum) -> None:
        """Count the options on which a number depends."""
        for _, product in expr.parts:
            for factor in product.factors:
                if isinstance(factor, ast.Sum):
                    self.number(factor)
                elif isinstance(factor, ast.Name):
                    self.words.add(factor.text)


class _Parts:
    """A spec's parts, and what each of them uses."""

    def __init__(self, items: Sequence[ast.Item], findings: Findings) -> None:
        self.findings = findings
        self.machines = [item for item in items if isinstance(item, ast.Machine)]
        self.interfaces = [item for item in items if isinstance(item, ast.Interface)]
        self.backends = [item for item in items if isinstance(item, ast.Backend)]
        self.families = [item for item in items if isinstance(item, ast.Family)]
        self.chains = {item.name.text: item for item in items if isinstance(item, ast.Chain)}
        self.decisions = [
            (decision, _of_decision(decision))
            for item in items
            if isinstance(item, ast.Policy)
            for decision in item.decisions
        ]
        self.by_chain = {name: _Uses(item.arms) for name, item in self.chains.items()}
        self.by_backend = [(item, _of_backend(item)) for item in self.backends]
        self.by_family = [(item, _of_family(item)) for item in self.families]
        self.by_rest = _Uses()
        for interface in self.interfaces:
            _of_interface(interface, self.by_rest)
        for machine in self.machines:
            for choice in machine.choices:
                self.by_rest.guard(choice.guard)

    def check_chains(self) -> None:
        """Chains that no rule uses."""
        arms = [arm for item in self.backends for arm in arms_of(item)]
        arms += [arm for item in self.families for arm in item.arms]
        used = reached(arms, self.chains)
        self._unused("chain", (item.name for item in self.chains.values()), used, "no rule uses it")

    def check_interfaces(self) -> None:
        """Options and symbols of the interface, which any part may use."""
        words = set(self.by_rest.words)
        for _, uses in (*self.by_chain.items(), *self.by_backend, *self.by_family):
            words |= uses.words
        words.update(word for _, uses in self.decisions for word in uses.words)
        for item in self.interfaces:
            self._unused("option", (name for option in item.options for name in option.names), words)
            self._unused("symbol", (name for symbol in item.symbols for name in symbol.names), words)

    def check_backends(self) -> None:
        """A backend's own options, symbols and roms."""
        for item, uses in self.by_backend:
            self._unused("option", (name for option in item.options for name in option.names), uses.words)
            self._unused("symbol", (name for symbol in item.symbols for name in symbol.names), uses.words)
            self._unused("rom", (rom.name for rom in item.roms), uses.words)

    def check_families(self) -> None:
        """A family's options and reads; symbols, which all families and their chains share."""
        shared = {word for uses in self.by_chain.values() for word in uses.words}
        shared.update(word for _, uses in self.by_family for word in uses.words)
        for item, uses in self.by_family:
            own = uses.words.union(*(self.by_chain[name].words for name in reached(item.arms, self.chains)))
            self._unused("option", (name for option in item.options for name in option.names), own)
            self._unused("read", (read.name for read in item.reads), own)
        owners: list[ast.Family | ast.Chain] = [*self.families, *self.chains.values()]
        for owner in owners:
            self._unused("symbol", (name for symbol in owner.symbols for name in symbol.names), shared)

    def _unused(
        self, what: str, names: Iterable[ast.Name], known: Container[str], why: str = "nothing refers to it"
    ) -> None:
        for name in names:
            if name.text not in known:
                self.findings.add("PV701", f"{what} `{name.text}` is never used", (name.span, why))

    # ---- features

    def check_features(self) -> None:
        """Features that nothing tests, and decisions about the others that have no effect."""
        asked = set(self.by_rest.features)
        for _, uses in (*self.by_chain.items(), *self.by_backend, *self.by_family):
            asked |= uses.features
        numbered = {f.name.text for machine in self.machines for f in machine.features if f.number is not None}
        if any(_names_features(item, uses) for item, uses in self.by_family):
            asked |= numbered
        never = self._never_asked(asked)
        live, anew = asked, dict[str, Span]()
        for decision, uses in reversed(self.decisions):
            for name in decision.features:
                if name.text not in live and name.text not in never:
                    self._never_matters(name, anew.get(name.text))
            if decision.guard is None:
                live = live.difference(name.text for name in decision.features)
                anew.update((name.text, name.span) for name in decision.features)
            live = live | uses.features

    def _never_asked(self, asked: set[str]) -> set[str]:
        """The features that no guard tests, each a finding."""
        asked = asked.union(*(uses.features for _, uses in self.decisions))
        by_name = {name.text: name for decision, _ in reversed(self.decisions) for name in decision.features}
        never = [f.name for machine in self.machines for f in machine.features if f.name.text not in asked]
        for name in never:
            where = [(by_name[name.text].span, "this decision has no effect")] if name.text in by_name else []
            text = "no guard tests it, and no record can name it"
            self.findings.add("PV702", f"feature `{name.text}` is never tested", (name.span, text), *where)
        return {name.text for name in never}

    def _never_matters(self, name: ast.Name, anew: Span | None) -> None:
        text = "overridden before anything tests it" if anew else "nothing tests it after this"
        where = [(anew, "here")] if anew else []
        self.findings.add("PV703", f"this decision about `{name.text}` never matters", (name.span, text), *where)


def _of_interface(item: ast.Interface, uses: _Uses) -> None:
    for op in item.ops:
        uses.number(op.number)
        uses.guard(op.guard)
    for meaning in item.meanings:
        if meaning.code is not None:
            uses.code(meaning.code.source)
    for functions in item.functions:
        uses.names(functions)
    _of_tables(item.tables, uses)


def _of_decision(item: ast.Decision) -> _Uses:
    uses = _Uses()
    uses.guard(item.guard)
    return uses


def _of_backend(item: ast.Backend) -> _Uses:
    uses = _Uses(arms_of(item))
    for target in item.targets:
        uses.names(target)
        uses.guard(target.guard)
    for shadow in item.shadows:
        uses.code(shadow.operand)
        uses.guard(shadow.guard)
    return uses


def _of_family(item: ast.Family) -> _Uses:
    uses = _Uses(item.arms)
    for at in item.site_at:
        uses.names(at)
    for read in item.reads:
        uses.words.add(read.base.text)
    _of_tables(item.tables, uses)
    return uses


def _of_tables(tables: Iterable[ast.Table], uses: _Uses) -> None:
    for table in tables:
        uses.words.update(name.text for name in table.bounds or ())


def _names_features(item: ast.Family, uses: _Uses) -> bool:
    """Whether a field of the record holds a feature's number, so that tables may name any feature."""
    fields = {field.name.text for table in item.tables for field in table.fields if field.name is not None}
    return not fields.isdisjoint(uses.features)
