"""Running cases and comparing outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, Findings
from pvspec.lang.source import Span
from pvspec.spectest.binding import Binding, bind_case
from pvspec.spectest.expected import expected
from pvspec.spectest.site import Site
from pvspec.spectest.subject import Lacking, Subject
from pvspec.x86.decode import disassemble


@dataclass(frozen=True)
class Result:
    """One case: the test's name, where it stands, and what was wrong with it, if anything."""

    test: str
    span: Span
    diagnostics: tuple[Diagnostic, ...]

    @property
    def passed(self) -> bool:
        """Whether the outcome was the expected one."""
        return not self.diagnostics


def run_tests(spec: model.Spec, module: ModuleType) -> Iterator[Result]:
    """Run every case of every test block; `module` is the spec's generated module."""
    for test in spec.tests:
        for case in test.cases:
            findings = Findings()
            _run(Subject(test.name.text, case, spec, findings), module)
            yield Result(test.name.text, case.span, tuple(findings.found))


def _run(subject: Subject, module: ModuleType) -> None:
    try:
        bound = bind_case(subject)
        site = Site(subject, bound)
        kernel = _kernel(subject, bound, site, module)
        wanted = expected(subject, bound, site, kernel.nops, kernel.nops_name in subject.spec.machine.jumps)
        got = _outcome(site, kernel, module)
    except Lacking:
        return
    except LookupError as error:
        subject.lack(str(error.args[0]), subject.case.span)
        return
    notes = _differences(subject, wanted, got)
    if notes:
        wants = subject.case.wants
        place = wants[0].span.to(wants[-1].span)
        subject.findings.add("PV501", f"test {subject.name}: another outcome", (place, "expected this"), notes=notes)


def _kernel(subject: Subject, bound: Binding, site: Site, module: ModuleType) -> Any:
    try:
        return bound.kernel(subject, module, site.memory)
    except module.PatchError as error:
        raise subject.lack(str(error), subject.case.span, "say it behind `with`") from None


def _outcome(site: Site, kernel: Any, module: ModuleType) -> bytes | str:
    try:
        return site.patched(kernel, module)
    except module.PatchError as error:
        return str(error)


def _differences(subject: Subject, wanted: bytes | ast.Text, got: bytes | str) -> list[str]:
    """How outcome and expectation differ, in lines; none if they do not."""
    if wanted == got or (isinstance(wanted, ast.Text) and isinstance(got, str) and wanted.value in got):
        return []
    shown = [f"error    {wanted.value}"] if isinstance(wanted, ast.Text) else _shown(subject, wanted)
    found = [f"error    {got}"] if isinstance(got, str) else _shown(subject, got)
    return [f"expected {shown[0]}", *shown[1:], f"got      {found[0]}", *found[1:]]


def _shown(subject: Subject, code: bytes) -> list[str]:
    instructions = disassemble(code, subject.spec.machine.bits, subject.case.address.value)
    return [code.hex(" "), f"{'':<8} " + "; ".join(instruction.text for instruction in instructions)]
