"""What a case is about: its test's backend or family, and how it says that something is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Findings, suggestion
from pvspec.lang.source import Span

MAX_SITE = 0xFFFF  # bytes


class Lacking(Exception):
    """The case cannot be run; a finding says why."""


@dataclass(frozen=True)
class Subject:
    """One case of the test of a backend or of a family."""

    name: str
    case: ast.Case
    spec: model.Spec
    findings: Findings

    @property
    def backend(self) -> model.Backend | None:
        """The backend under test."""
        return self.spec.backends.get(self.name)

    @property
    def family(self) -> model.Family | None:
        """The family under test."""
        return self.spec.families.get(self.name)

    @property
    def interface(self) -> model.Interface | None:
        """The interface whose sites are tested: a backend's, or that which a family's sites call through."""
        interface = self.spec.interface
        return interface if self.backend is not None or (interface and interface.functions) else None

    def length(self) -> int:
        """The site's length in bytes; raises Lacking if nothing says it."""
        if self.family is not None and self.family.length is not None:
            return self.family.length
        for number in self.case.lengths:
            if number.value > MAX_SITE:
                raise self.lack(f"a site of {number.value} bytes", number.span, f"at most {MAX_SITE}")
            return number.value
        for original in self.case.originals:
            return len(self.hex(original))
        if self.family is not None and self.family.decoded:
            raise self.lack("the case does not say what lies at the site", self.case.address.span, "add `original`")
        raise self.lack("the case does not say how long the site is", self.case.address.span, "add `len N`")

    def numbers(self, options: Mapping[str, bool]) -> dict[str, int]:
        """Op name to number with these options."""
        if self.interface is None:
            return {}
        configuration = tuple(options[name] for name in self.interface.names.options)
        ops = self.interface.ops.values()
        return {op.name: op.numbers[configuration] for op in ops if configuration in op.numbers}

    def hex(self, text: ast.Text) -> bytes:
        """The bytes of a string; raises Lacking if it holds none."""
        try:
            return bytes.fromhex(text.value)
        except ValueError:
            raise self.lack("no hexadecimal bytes", text.span) from None

    def lack(self, message: str, span: Span, text: str = "") -> Lacking:
        """Note what is missing; the exception to raise."""
        self.findings.add("PV502", message, (span, text))
        return Lacking()

    def unknown(self, what: str, name: ast.Name, known: Iterable[str]) -> Lacking:
        """Note a name that means nothing; the exception to raise."""
        help = suggestion(name.text, known)
        self.findings.add("PV101", f"unknown {what} `{name.text}`", (name.span, ""), help=help)
        return Lacking()
