"""A case as it runs, and how it says that it cannot."""

from __future__ import annotations

from pvspec.lang.check.tested import Tested
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span


class Lacking(Exception):
    """The case cannot be run; a finding says why."""


class Subject(Tested):
    """One case of a test that the checks have found sound, and what running it finds."""

    findings: Findings

    def lack(self, message: str, span: Span, text: str = "") -> Lacking:
        """Note what is missing; the exception to raise."""
        self.findings.add("PV502", message, (span, text))
        return Lacking()
