"""`pvspec check`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.cli.report import Report
from pvspec.compile.pipeline import check_spec
from pvspec.lang.diagnostics import Diagnostic, count


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Check specs and report everything that is wrong."""
    report.result = {"specs": arguments.specs}
    warnings = 0
    for spec in arguments.specs:
        checked = check_spec(Path(spec))
        report.found(sorted((*checked.diagnostics, *checked.warnings), key=Diagnostic.sort_key))
        warnings += len(checked.warnings)
        if not checked.diagnostics:
            report.say(f"{spec}: {count(len(checked.warnings), 'warning') if checked.warnings else 'fine'}")
    if warnings and arguments.deny_warnings:
        report.fail(f"{count(warnings, 'warning')}; --deny-warnings allows none")
