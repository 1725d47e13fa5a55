"""Guards: from words to what the runtime evaluates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pvspec import model
from pvspec import syntax as ast
from pvspec.check.names import look_up, unknown
from pvspec.diagnostics import Findings
from pvspec.runtime.rules import Guard
from pvspec.source import Span


@dataclass(frozen=True)
class Scope:
    """What a guard or an action may speak of where it stands; `fields` are a record's, `ops`: sites of ops."""

    features: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, bool] = field(default_factory=dict)
    symbols: Mapping[str, model.Symbol] = field(default_factory=dict)
    fields: Collection[str] = ()
    ops: bool = False


def guard(item: ast.Guard | None, scope: Scope, findings: Findings) -> Guard | None:
    """The guard in the runtime's form; a part that means nothing here is a finding."""
    return None if item is None else _Guards(scope, findings).guard(item)


def both(one: Guard | None, other: Guard | None) -> Guard | None:
    """The guard that holds when both do."""
    if one is None or other is None:
        return one or other
    return ("all", one, other)


class _Guards:
    def __init__(self, scope: Scope, findings: Findings) -> None:
        self.scope = scope
        self.findings = findings

    def guard(self, item: ast.Guard) -> Guard:
        match item:
            case ast.AnyOf():
                return ("any", *map(self.guard, item.parts))
            case ast.AllOf():
                return ("all", *map(self.guard, item.parts))
            case ast.Not():
                return ("not", self.guard(item.part))
            case ast.TargetIs() | ast.OpNoreturn():
                return self._of_op(item)
            case ast.CpuHas():
                return self._cpu(item)
            case ast.Cpus():
                return ("cpus", item.count.value)
            case ast.Within():
                return self._within(item)
            case ast.Branches():
                return self._branches(item)
            case ast.Equals():
                self._field(item.name)
                return ("equals", item.name.text, item.value.value)
        return self._truth(item.name)

    def _of_op(self, item: ast.TargetIs | ast.OpNoreturn) -> Guard:
        if not self.scope.ops:
            self._misplaced(item.span, "only a site of an op has a target")
        if isinstance(item, ast.OpNoreturn):
            return ("noreturn",)
        if item.name.text == "null":
            return ("target", None)
        look_up(self.scope.symbols, item.name, "symbol", self.findings)
        return ("target", item.name.text)

    def _cpu(self, item: ast.CpuHas) -> Guard:
        name = item.name.text
        if name in self.scope.fields:
            return ("cpu field", name)
        number = look_up(self.scope.features, item.name, "feature", self.findings)
        return ("cpu", number)

    def _within(self, item: ast.Within) -> Guard:
        if "site" not in self.scope.fields:
            self._misplaced(item.span, "only a family's record names the site")
        for name in (item.first, item.last):
            look_up(self.scope.symbols, name, "symbol", self.findings)
        return ("within", item.first.text, item.last.text)

    def _branches(self, item: ast.Branches) -> Guard:
        if "site" not in self.scope.fields:
            self._misplaced(item.span, "only a family looks at what its sites hold")
        look_up(self.scope.symbols, item.name, "symbol", self.findings)
        return ("branch", {"call": 0xE8, "jmp": 0xE9}[item.mnemonic], item.name.text)

    def _field(self, name: ast.Name) -> None:
        if name.text not in self.scope.fields:
            unknown(name, "field", self.scope.fields, self.findings)

    def _truth(self, name: ast.Name) -> Guard:
        if name.text in self.scope.fields:
            return ("field", name.text)
        look_up(self.scope.options, name, "option", self.findings)
        return ("option", name.text)

    def _misplaced(self, span: Span, why: str) -> None:
        self.findings.add("PV305", "this guard has no meaning here", (span, why))
