"""`pvspec check`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.cli.report import Report
from pvspec.compiler.pipeline import check_spec


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Check specs and report everything that is wrong."""
    report.result = {"specs": arguments.specs}
    for spec in arguments.specs:
        checked = check_spec(Path(spec))
        report.found(checked.diagnostics)
        if not checked.diagnostics:
            report.say(f"{spec}: fine")
