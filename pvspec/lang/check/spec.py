"""The whole spec: its one machine and interface, and all parts that refer to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from pvspec.engine.command_line import CommandLine
from pvspec.engine.guards import Guard
from pvspec.engine.spec import Architecture, policy_guards
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.ambiguities import check_ambiguities
from pvspec.lang.check.backends import backend, joined, op_scope
from pvspec.lang.check.chains import arms_of, chains, reached
from pvspec.lang.check.command_line import command_line
from pvspec.lang.check.families import Common, family
from pvspec.lang.check.guards import Scope, probes
from pvspec.lang.check.interface import interface
from pvspec.lang.check.machine import machine, text_range, together
from pvspec.lang.check.names import Declared, look_up, symbol_names
from pvspec.lang.check.policy import configs, policy
from pvspec.lang.check.tests import sound_tests
from pvspec.lang.check.unused import check_unused
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Source
from pvspec.lang.target import ANY, Target


def check(
    items: Sequence[ast.Item], sources: Iterable[Source], findings: Findings, target: Target = ANY
) -> model.Spec | None:
    """The model of these items, which were read for the target; what is wrong is a finding and is left out.

    None without a machine.
    """
    backends = joined(item for item in items if isinstance(item, ast.Backend))
    items = [*(item for item in items if not isinstance(item, ast.Backend)), *backends]
    machines = [item for item in items if isinstance(item, ast.Machine)]
    if not machines:
        findings.add("PV104", "no `machine` is declared", help="declare one, or include the file that does")
        return None
    machine_item = together(machines, target.machine)
    line = command_line([item for item in items if isinstance(item, ast.CommandLine)], findings)
    the_machine = machine(machine_item, line.variables, findings)
    parts = _Parts(items, the_machine, line, findings)
    spec = model.Spec(
        the_machine,
        parts.interface,
        parts.chains,
        parts.backends,
        parts.families,
        parts.passes,
        parts.policy,
        line,
        parts.configs,
        frozenset(probes(parts.guards())),
        parts.tests,
        tuple(sources),
        text_range(machine_item, findings),
        {nops.name.text: tuple(entry.span for entry in nops.entries) for nops in reversed(machine_item.nops)},
    )
    check_ambiguities(items, findings)
    spec = spec.changed(tests=sound_tests(spec, findings))
    if not findings.found:
        check_unused(items, findings)
    return spec


class _Parts:
    def __init__(self, items: Sequence[ast.Item], machine: Architecture, line: CommandLine, findings: Findings) -> None:
        self.items = items
        self.machine = machine
        self.findings = findings
        self.backend_names = [item.name.text for item in items if isinstance(item, ast.Backend)]
        self.configs = configs((item for item in items if isinstance(item, ast.Config)), findings)
        self.scope = Scope(
            features=machine.features,
            backends=self.backend_names,
            nops=machine.nops,
            variables=line.variables,
            configs=self.configs,
        )
        self.interface = self._interface()
        self.declared = self._declared()
        self.chains = self._chains()
        self.backends = self._backends()
        self.families = self._families()
        self.passes = self._passes()
        self.policy = policy(items, self._policy_scope(), line, findings)
        self.tests = self._tests()

    def _interface(self) -> model.Interface | None:
        items = [item for item in self.items if isinstance(item, ast.Interface)]
        for item in items[1:]:
            labels = (item.name.span, "again here"), (items[0].name.span, "first here")
            self.findings.add("PV102", "a second interface is declared", *labels)
        return interface(items[0], self.machine, self.findings) if items else None

    def _declared(self) -> Declared[ast.Chain]:
        declared = Declared[ast.Chain]("chain", self.findings)
        for item in self.items:
            if isinstance(item, ast.Chain):
                declared.declare(item.name, item)
        return declared

    def _chains(self) -> dict[str, model.Chain]:
        """The chains that rules for ops use; chains that only families use are resolved there."""
        if self.interface is None:
            return {}
        families = reached((arm for i in self.items if isinstance(i, ast.Family) for arm in i.arms), self.declared)
        backends = reached((arm for i in self.items if isinstance(i, ast.Backend) for arm in arms_of(i)), self.declared)
        mine = {name: item for name, item in self.declared.items() if name in backends or name not in families}
        return chains(mine, op_scope(self.scope, self.machine, self.interface), self.findings)

    def _backends(self) -> dict[str, model.Backend]:
        backends = Declared[model.Backend]("backend", self.findings)
        items = [item for item in self.items if isinstance(item, ast.Backend)]
        # a backend whose `otherwise` names another one comes after it
        names = frozenset(self.backend_names)
        known = {other.name.text: other for other in self.items if isinstance(other, ast.Interface)}
        for item in sorted(items, key=lambda item: _refers_to(item, names)):
            look_up(known, item.interface, "interface", self.findings)
            if self.interface is not None and item.interface.text == self.interface.name:
                scope = op_scope(self.scope, self.machine, self.interface)
                scope = scope.changed(chains=self.chains, answered=dict(backends))
                backends.declare(item.name, backend(item, self.machine, self.interface, scope, self.findings))
        return {name: backends[name] for name in self.backend_names if name in backends}

    def _families(self) -> dict[str, model.Family]:
        families = Declared[model.Family]("family", self.findings)
        common = self._common()
        for item in self.items:
            if isinstance(item, ast.Family):
                made = family(item, self.machine, self.interface, common, self.findings)
                if made is not None:
                    families.declare(item.name, made)
        return dict(families)

    def _common(self) -> Common:
        """What families share: a symbol means the same in all of them."""
        quiet = Findings()  # each family reports what is wrong with its own
        owners = [item for item in self.items if isinstance(item, ast.Family | ast.Chain)]
        declared = [symbol for item in owners for symbol in item.symbols]
        symbols: dict[str, model.Symbol] = {}
        for item in declared:
            symbols.update(symbol_names([item], self.machine.bits, frozenset(), quiet))
        return Common(self.scope, symbols, self.declared)

    def _passes(self) -> tuple[str, ...]:
        tables = {item.name.text for item in self.items if isinstance(item, ast.Family)}
        if self.interface is not None and self.interface.layout is not None:
            tables.add(self.interface.name)
        order = Declared[None]("pass", self.findings)
        for item in self.items:
            if isinstance(item, ast.Passes):
                for name in item.names:
                    look_up(dict.fromkeys(tables, True), name, "table", self.findings)
                    order.declare(name, None)
        return tuple(order) or tuple(sorted(tables))

    def _policy_scope(self) -> Scope:
        """What a policy's guards may refer to."""
        interface = self.interface
        if interface is None:
            return self.scope
        names = interface.names
        return self.scope.changed(options=names.options, symbols=names.symbols, op_names=interface.ops)

    def guards(self) -> Iterator[Guard | None]:
        """All guards that are asked of a kernel."""
        yield from policy_guards(self.policy)
        yield from self.configs.values()
        yield from (guard for _, guard in self.machine.choices)
        yield from (target.guard for answers in self.backends.values() for target in answers.targets)
        rules = [chain for answers in self.backends.values() for chain in answers.chains()]
        rules += [sites.rule for sites in self.families.values()]
        yield from (arm.guard for rule in rules for arm in rule)

    def _tests(self) -> tuple[ast.Test, ...]:
        tests = [item for item in self.items if isinstance(item, ast.Test)]
        known = {item.name.text for item in self.items if isinstance(item, ast.Backend | ast.Family)}
        for test in tests:
            look_up(dict.fromkeys(known, True), test.name, "backend or family", self.findings)
        return tuple(test for test in tests if test.name.text in self.backends or test.name.text in self.families)


def _refers_to(item: ast.Backend, backends: Collection[str]) -> bool:
    arms = [arm for otherwise in item.otherwise for arm in otherwise.arms]
    return any(isinstance(arm.action, ast.ChainRef) and arm.action.name.text in backends for arm in arms)
