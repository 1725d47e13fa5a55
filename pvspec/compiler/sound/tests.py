"""The code that test cases expect: does it assemble, does it fill the site, do its branches reach their targets?"""

from __future__ import annotations

from collections.abc import Collection

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.tested import Tested
from pvspec.lang.diagnostics import Findings, count
from pvspec.x86.assembler import AsmErrors, assemble, statements

_BRANCH = 5  # bytes of a `call` or `jmp`
_STATEMENT = 300  # units of work that a statement costs


def check_expected(spec: model.Spec, findings: Findings) -> None:
    """A finding for each outcome that no site can have, in cases that are otherwise sound."""
    for test in spec.tests:
        for case in test.cases:
            if case.wants and case.wants[0].kind not in ("keep", "bug"):
                _check_case(Tested(test.name.text, case, spec), findings)


def _check_case(tested: Tested, findings: Findings) -> None:
    case, size, padded, bits = tested.case, 0, False, tested.spec.machine.bits
    for want in case.wants:
        match want.kind, want.value:
            case "bytes", ast.Text(value=text):
                size += len(bytes.fromhex(text))
            case "asm", ast.Text() as source:
                length = _length(source, bits, tested.symbols, findings)
                if length is None:
                    return
                size += length
            case "call" | "jmp", ast.Number() as target:
                _check_reach(target, case.address.value + size + _BRANCH, bits, findings)
                size += _BRANCH
            case "nops", _:
                padded = True
    length = tested.length or 0
    if size > length or (size < length and not padded):
        text = f"the site is {count(length, 'byte')} long"
        span = case.wants[0].span.to(case.wants[-1].span)
        help = "add `nops`: the expected code must cover the site" if size < length else None
        findings.add("PV502", f"the expected code is {count(size, 'byte')} long", (span, text), help=help)


def _length(source: ast.Text, bits: int, symbols: Collection[str], findings: Findings) -> int | None:
    """The code's bytes; None, with findings, if it cannot be assembled."""
    findings.work.add(_STATEMENT * statements(source.value) + len(source.value), "its statements", source.span)
    try:
        return len(assemble(source.value, bits, symbols, suggestions=findings.work.suggestions).data)
    except AsmErrors as errors:
        for error in errors.errors:
            findings.add("PV401", error.message, (source.span.part(error.start, error.end), ""), help=error.help)
    return None


def _check_reach(target: ast.Number, end: int, bits: int, findings: Findings) -> None:
    """In 32-bit code a rel32 wraps around; in 64-bit code it reaches 2 GiB either way."""
    if bits == 64 and not -1 << 31 <= target.value - end < 1 << 31:
        findings.add("PV409", "a branch that cannot reach its target", (target.span, "more than 2 GiB away"))
