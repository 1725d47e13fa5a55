"""Guards: from syntax to the values that the engine evaluates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from pvspec.engine import guards
from pvspec.engine.command_line import Variable
from pvspec.engine.guards import Guard, questions
from pvspec.engine.spec import Read
from pvspec.engine.value import Map, Value
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.command_line import setting
from pvspec.lang.check.names import look_up, unknown
from pvspec.lang.check.numbers import hex_pattern
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span

VENDORS = {
    "amd": "AuthenticAMD",
    "centaur": "CentaurHauls",
    "cyrix": "CyrixInstead",
    "hygon": "HygonGenuine",
    "intel": "GenuineIntel",
    "nsc": "Geode by NSC",
    "transmeta": "GenuineTMx86",
    "umc": "UMC UMC UMC",
    "zhaoxin": "  Shanghai  ",
}
"""Vendor strings by vendor name; the names are Linux's X86_VENDOR_*, in lower case."""

_OPCODES = {("call", False): 0xE8, ("jmp", False): 0xE9, ("jmp", True): 0xEB}


class Scope(Value):
    """What a guard or an action may refer to where it is written.

    `fields` are the record's, `reads` the values that it leads to; `ops`: the site is an op's, `site`: a family's.
    `op_names` are the interface's, `backends` and `nops` the spec's backends and nop tables. `variables` are the
    kernel's, `conditions` what `let` named so far.
    """

    features: Mapping[str, int] = Map()
    options: Mapping[str, bool] = Map()
    symbols: Mapping[str, model.Symbol] = Map()
    fields: Collection[str] = ()
    reads: Mapping[str, Read] = Map()
    ops: bool = False
    site: bool = False
    op_names: Collection[str] = ()
    backends: Collection[str] = ()
    nops: Collection[str] = ()
    variables: Mapping[str, Variable] = Map()
    configs: Collection[str] = ()
    conditions: Collection[str] = ()

    @property
    def values(self) -> Collection[str]:
        """The names of fields and reads."""
        return [*self.fields, *self.reads]

    def has_value(self, name: str) -> bool:
        """Whether a field or a read has this name."""
        return name in self.fields or name in self.reads


def guard(item: ast.Guard | None, scope: Scope, findings: Findings) -> Guard | None:
    """The guard as the engine evaluates it; a part that has no meaning here is a finding."""
    return None if item is None else _Guards(scope, findings).guard(item)


def decided(item: ast.Guard | bool, scope: Scope, findings: Findings) -> Guard:
    """As `guard`, of one that the kernel's version may have decided."""
    if isinstance(item, bool):
        return guards.AllOf(()) if item else guards.AnyOf(())
    return _Guards(scope, findings).guard(item)


def probes(items: Iterable[Guard | None]) -> Iterator[str]:
    """The symbols that guards test with `kernel has`."""
    for item in items:
        for question in questions(item):
            if isinstance(question, guards.KernelHas):
                yield question.symbol


class _Guards:
    def __init__(self, scope: Scope, findings: Findings) -> None:
        self.scope = scope
        self.findings = findings

    def guard(self, item: ast.Guard) -> Guard:
        match item:
            case ast.AnyOf():
                return guards.AnyOf(tuple(map(self.guard, item.parts)))
            case ast.AllOf():
                return guards.AllOf(tuple(map(self.guard, item.parts)))
            case ast.Not():
                return guards.Not(self.guard(item.part))
            case ast.TargetIs() | ast.OpTargetIs() | ast.OpNoreturn():
                return self._of_op(item)
            case ast.CpuHas() | ast.CpuVendor() | ast.CpuNumber() | ast.Cpus():
                return self._cpu(item)
            case ast.BackendIs() | ast.NopsIs() | ast.HasConfig():
                return self._choice(item)
            case ast.KernelHas():
                return guards.KernelHas(item.name.text)
            case ast.Vulnerability():
                return guards.Vulnerability(item.name.text, item.how, item.text.value)
            case ast.Within() | ast.Branches() | ast.Begins():
                return self._of_site(item)
            case ast.Compares() | ast.BitsOf() | ast.IsName():
                return self._of_value(item)
        return self._truth(item.name)

    def _of_op(self, item: ast.TargetIs | ast.OpTargetIs | ast.OpNoreturn) -> Guard:
        if isinstance(item, ast.OpTargetIs):
            if item.op.text not in self.scope.op_names:
                unknown(item.op, "op", self.scope.op_names, self.findings)
            return guards.OpTargetIs(item.op.text, self._address(item.name))
        if not self.scope.ops:
            self._misplaced(item.span, "only a site of an op has a target")
        if isinstance(item, ast.OpNoreturn):
            return guards.OpNoreturn()
        return guards.TargetIs(self._address(item.name))

    def _address(self, name: ast.Name) -> str | None:
        """A symbol's name; None for `null`."""
        if name.text == "null":
            return None
        look_up(self.scope.symbols, name, "symbol", self.findings)
        return name.text

    def _cpu(self, item: ast.CpuHas | ast.CpuVendor | ast.CpuNumber | ast.Cpus) -> Guard:
        match item:
            case ast.CpuVendor():
                return guards.CpuVendor(look_up(VENDORS, item.name, "vendor", self.findings) or "")
            case ast.CpuNumber():
                return guards.CpuNumber(item.what, item.compare, item.value.value)
            case ast.Cpus():
                return guards.Cpus(item.compare, item.count.value)
        if item.name.text in self.scope.fields:
            return guards.CpuHasField(item.name.text)
        return guards.CpuHas(look_up(self.scope.features, item.name, "feature", self.findings) or 0)

    def _choice(self, item: ast.BackendIs | ast.NopsIs | ast.HasConfig) -> Guard:
        scope, name = self.scope, item.name
        match item:
            case ast.BackendIs():
                self._known(name, "backend", scope.backends)
                return guards.BackendIs(name.text)
            case ast.NopsIs():
                self._known(name, "nop table", scope.nops)
                return guards.NopsAre(name.text)
        self._known(name, "config", scope.configs)
        return guards.HasConfig(name.text)

    def _known(self, name: ast.Name, what: str, known: Collection[str]) -> None:
        if name.text not in known:
            unknown(name, what, known, self.findings)

    def _of_site(self, item: ast.Within | ast.Branches | ast.Begins) -> Guard:
        if not self.scope.site:
            self._misplaced(item.span, "only a family has a `site`")
            return guards.AnyOf(())
        match item:
            case ast.Begins():
                self._value(item.name)
                return guards.Begins(item.name.text, item.addend, *hex_pattern(item.code, self.findings))
            case ast.Branches():
                self._symbol_or_value(item.name)
                return guards.Branches(item.prefixed, _OPCODES[item.mnemonic, item.short], item.name.text)
        self._value(item.name)
        for name in (item.first, item.last):
            look_up(self.scope.symbols, name, "symbol", self.findings)
        return guards.Within(item.name.text, item.first.text, item.last.text)

    def _of_value(self, item: ast.Compares | ast.BitsOf | ast.IsName) -> Guard:
        match item:
            case ast.Compares():
                return self._compares(item)
            case ast.BitsOf():
                self._value(item.name)
                return guards.HasBits(item.name.text, item.addend, item.mask.value)
        subject = item.subject
        if self._is_variable(subject):
            value = setting(subject, item.name, self.scope.variables, self.findings)
            return guards.VariableIs(subject.text, str(value[1]) if value is not None else "")
        if self._asked(subject) and item.name.text != "null":
            self._symbol_or_value(item.name)
        return guards.IsAddress(subject.text, None if item.name.text == "null" else item.name.text)

    def _compares(self, item: ast.Compares) -> Guard:
        name, number = item.name, item.value.value
        if not self._is_variable(name):
            self._asked(name)
            return guards.Compares(name.text, item.compare, number)
        setting(name, item.value, self.scope.variables, self.findings)
        return guards.VariableCompares(name.text, item.compare, number)

    def _is_variable(self, name: ast.Name) -> bool:
        return name.text in self.scope.variables and not self.scope.has_value(name.text)

    def _symbol_or_value(self, name: ast.Name) -> None:
        self._known(name, "symbol, field or read", [*self.scope.values, *self.scope.symbols])

    def _value(self, name: ast.Name) -> None:
        if not self._has_value(name):
            unknown(name, "field", self.scope.values, self.findings)

    def _asked(self, name: ast.Name) -> bool:
        """Whether what is no variable is a value; else it is a finding."""
        if not self._has_value(name):
            what = "field or variable" if self.scope.site else "variable"
            unknown(name, what, [*self.scope.values, *self.scope.variables], self.findings)
            return False
        return True

    def _has_value(self, name: ast.Name) -> bool:
        return self.scope.has_value(name.text) or (name.text == "site" and self.scope.site)

    def _truth(self, name: ast.Name) -> Guard:
        if name.text in self.scope.conditions:
            return guards.Holds(name.text)
        if self.scope.has_value(name.text):
            return guards.Nonzero(name.text)
        if name.text in self.scope.variables and name.text not in self.scope.options:
            self._misplaced(name.span, f"`{name.text}` is a variable: ask which value it has, as in `{name.text} is …`")
        else:
            what = "option or condition" if self.scope.conditions else "option"
            self._known(name, what, [*self.scope.options, *self.scope.conditions])
        return guards.OptionSet(name.text)

    def _misplaced(self, span: Span, why: str) -> None:
        self.findings.add("PV305", "this guard has no meaning here", (span, why))
