"""Running cases and comparing outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchError
from pvspec.engine.spec import Spec
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import MAX_REPORTED, Diagnostic, Findings, Work
from pvspec.lang.source import Span
from pvspec.lang.target import ANY, Target
from pvspec.spectest.binding import Binding, bind_case
from pvspec.spectest.expected import expected
from pvspec.spectest.site import Site
from pvspec.spectest.subject import Lacking, Subject
from pvspec.x86.decode import disassemble

_MAX_SHOWN = 256
"""Bytes of expected and actual code that a failed case shows, from where they differ on if there are more."""
_CASE = 300  # units of work that a case costs, besides what it binds
_FILLED = 3  # bytes of a site that cost a unit


class Result(Value):
    """One case for one kernel: the test's name, its location, and whether the outcome was the expected one.

    `diagnostics`: how it failed, unless another kernel's result says the same.
    """

    target: Target
    test: str
    span: Span
    passed: bool
    diagnostics: tuple[Diagnostic, ...]


def run_cases(spec: model.Spec, lowered: Spec, target: Target = ANY) -> Iterator[Result]:
    """Run every case of every test block; `lowered` is the spec as the engine's value, for the kernel `target`.

    SpecError: too much work.
    """
    work, names, failed = Work(), _names(spec), 0
    for test in spec.tests:
        for case in test.cases:
            findings = Findings(work=work)
            subject = Subject(test.name.text, case, spec, findings)
            work.add(_CASE + names + (subject.length or 0) // _FILLED, "its cases", case.span)
            _run(subject, lowered, failed < MAX_REPORTED)
            failed += bool(findings.found)
            yield Result(target, test.name.text, case.span, not findings.found, tuple(findings.found))


def _names(spec: model.Spec) -> int:
    """How many names, arms and decisions are bound anew for each case."""
    interface = spec.interface
    count = len(spec.machine.features) + sum(1 for _ in spec.arms()) + len(spec.policy)
    count += sum(len(family.names.symbols) for family in spec.families.values())
    return count + (len(interface.ops) + len(interface.names.symbols) if interface is not None else 0)


def _run(subject: Subject, spec: Spec, is_explained: bool) -> None:
    try:
        bound = bind_case(subject)
        site = Site(subject, bound)
        kernel = _kernel(subject, bound, site, spec)
        wanted = expected(subject, bound, site, kernel.nops, kernel.nops_name in subject.spec.machine.jumps)
        got = _outcome(site, kernel)
    except Lacking:
        return
    except LookupError as error:
        subject.lack(str(error.args[0]), subject.case.span)
        return
    if _agree(wanted, got):
        return
    wants, notes, headline = subject.case.wants, list[str](), f"test `{subject.name}` failed"
    if is_explained:
        wanted, got = _where_they_differ(wanted, got)
        notes, headline = _differences(subject, wanted, got), _headline(subject, wanted, got)
    subject.findings.add("PV501", headline, (wants[0].span.to(wants[-1].span), "expected this"), notes=notes)


def _kernel(subject: Subject, bound: Binding, site: Site, spec: Spec) -> Kernel:
    try:
        return bound.kernel(subject, spec, site.memory)
    except PatchError as error:
        raise subject.lack(str(error), subject.case.span, "add it after `with`") from None


def _outcome(site: Site, kernel: Kernel) -> bytes | str:
    try:
        return site.patched(kernel)
    except PatchError as error:
        return str(error)


def _agree(wanted: bytes | ast.Text, got: bytes | str) -> bool:
    return wanted == got or (isinstance(wanted, ast.Text) and isinstance(got, str) and wanted.value in got)


def _where_they_differ(wanted: bytes | ast.Text, got: bytes | str) -> tuple[bytes | ast.Text, bytes | str]:
    """Both; of code that is longer than what is shown, the part from where it differs on."""
    if not isinstance(wanted, bytes) or not isinstance(got, bytes) or max(len(wanted), len(got)) <= _MAX_SHOWN:
        return wanted, got
    at = next((index for index, pair in enumerate(zip(wanted, got, strict=False)) if pair[0] != pair[1]), 0)
    return wanted[at : at + _MAX_SHOWN], got[at : at + _MAX_SHOWN]


def _headline(subject: Subject, wanted: bytes | ast.Text, got: bytes | str) -> str:
    """The first difference."""
    if isinstance(wanted, ast.Text):
        what = "expected another error" if isinstance(got, str) else "expected an error, got code"
    elif isinstance(got, str):
        what = "expected code, got an error"
    else:
        pieces = zip_longest(_pieces(subject, wanted), _pieces(subject, got), fillvalue=(b"", "nothing"))
        first, second = next(pair for pair in pieces if pair[0] != pair[1])
        shown = (first[1], second[1]) if first[1] != second[1] else (first[0].hex(" "), second[0].hex(" "))
        what = f"expected `{shown[0]}`, got `{shown[1]}`"
    return f"test `{subject.name}` failed: {what}"


def _differences(subject: Subject, wanted: bytes | ast.Text, got: bytes | str) -> list[str]:
    """The differences between outcome and expectation, in lines."""
    shown = [f"error    {wanted.value}"] if isinstance(wanted, ast.Text) else _shown(subject, wanted)
    found = [f"error    {got}"] if isinstance(got, str) else _shown(subject, got)
    return [f"expected {shown[0]}", *shown[1:], f"got      {found[0]}", *found[1:]]


def _shown(subject: Subject, code: bytes) -> list[str]:
    return [code.hex(" "), f"{'':<8} " + "; ".join(text for _, text in _pieces(subject, code))]


def _pieces(subject: Subject, code: bytes) -> list[tuple[bytes, str]]:
    """Each instruction's bytes and text."""
    instructions = disassemble(code, subject.spec.machine.bits, subject.case.address.value)
    return [(code[item.offset : item.offset + item.size], item.text) for item in instructions]
