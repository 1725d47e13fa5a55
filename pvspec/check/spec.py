"""The whole spec: its one machine and interface, and everyone who refers to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from pvspec import model
from pvspec import syntax as ast
from pvspec.check.interface import interface
from pvspec.check.machine import machine, text_range
from pvspec.check.names import Declared, look_up
from pvspec.check.parties import backend, chains, family, op_place
from pvspec.diagnostics import Findings
from pvspec.runtime.rules import Machine
from pvspec.source import Source

T = TypeVar("T", ast.Machine, ast.Interface)


def check(items: Sequence[ast.Item], sources: Iterable[Source], findings: Findings) -> model.Spec | None:
    """The model of these items; whatever is wrong is a finding, and left out. None if there is no machine."""
    machine_item = _the_one([item for item in items if isinstance(item, ast.Machine)], "machine", findings)
    if machine_item is None:
        findings.add("PV104", "no `machine` is declared", help="include the file that declares it")
        return None
    the_machine = machine(machine_item, findings)
    spec = _Parts(items, the_machine, findings)
    return model.Spec(
        the_machine,
        spec.interface,
        spec.chains,
        spec.backends,
        spec.families,
        spec.passes,
        spec.tests,
        tuple(sources),
        text_range(machine_item, findings),
    )


def _the_one(items: list[T], what: str, findings: Findings) -> T | None:
    for item in items[1:]:
        findings.add("PV102", f"a second {what}", (item.name.span, "again here"), (items[0].name.span, "first here"))
    return items[0] if items else None


class _Parts:
    def __init__(self, items: Sequence[ast.Item], machine: Machine, findings: Findings) -> None:
        self.items = items
        self.machine = machine
        self.findings = findings
        self.interface = self._interface()
        self.chains = self._chains()
        self.backends = self._backends()
        self.families = self._families()
        self.passes = self._passes()
        self.tests = self._tests()

    def _interface(self) -> model.Interface | None:
        item = _the_one([item for item in self.items if isinstance(item, ast.Interface)], "interface", self.findings)
        if item is None:
            return None
        look_up({self.machine.name: self.machine}, item.machine, "machine", self.findings)
        return interface(item, self.machine, self.findings)

    def _chains(self) -> dict[str, model.Chain]:
        items = [item for item in self.items if isinstance(item, ast.Chain)]
        if self.interface is None:
            return {}
        return chains(items, op_place(self.machine, self.interface), self.findings)

    def _backends(self) -> dict[str, model.Backend]:
        backends = Declared[model.Backend]("backend", self.findings)
        for item in self.items:
            if not isinstance(item, ast.Backend):
                continue
            known = {other.name.text: other for other in self.items if isinstance(other, ast.Interface)}
            look_up(known, item.interface, "interface", self.findings)
            if self.interface is not None and item.interface.text == self.interface.name:
                place = replace(op_place(self.machine, self.interface), chains=self.chains)
                backends.declare(item.name, backend(item, self.machine, self.interface, place, self.findings))
        return dict(backends)

    def _families(self) -> dict[str, model.Family]:
        families = Declared[model.Family]("family", self.findings)
        for item in self.items:
            if isinstance(item, ast.Family):
                look_up({self.machine.name: self.machine}, item.machine, "machine", self.findings)
                made = family(item, self.machine, self.findings)
                if made is not None:
                    families.declare(item.name, made)
        return dict(families)

    def _passes(self) -> tuple[str, ...]:
        tables = {item.name.text for item in self.items if isinstance(item, ast.Family | ast.Interface)}
        order = Declared[None]("pass", self.findings)
        for item in self.items:
            if isinstance(item, ast.Passes):
                for name in item.names:
                    look_up(dict.fromkeys(tables, True), name, "table", self.findings)
                    order.declare(name, None)
        return tuple(order) or tuple(sorted(tables))

    def _tests(self) -> tuple[ast.Test, ...]:
        tests = [item for item in self.items if isinstance(item, ast.Test)]
        known = {item.name.text for item in self.items if isinstance(item, ast.Backend | ast.Family)}
        for test in tests:
            look_up(dict.fromkeys(known, True), test.name, "backend or family", self.findings)
        return tuple(test for test in tests if test.name.text in self.backends or test.name.text in self.families)
