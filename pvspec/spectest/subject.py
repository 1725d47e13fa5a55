"""A case as it runs, and the exception for a case that cannot be run."""

from __future__ import annotations

from pvspec.lang.check.tested import Tested
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span


class Lacking(Exception):
    """The case cannot be run; a finding says why."""


class Subject(Tested):
    """One case that passed the checks, and the findings from running it."""

    findings: Findings

    def lack(self, message: str, span: Span, text: str = "") -> Lacking:
        """Report what is missing; returns the exception to raise."""
        self.findings.add("PV502", message, (span, text))
        return Lacking()
