"""`pvspec check`."""

from __future__ import annotations

import argparse

from pvspec import check_spec
from pvspec.cli import arguments as common
from pvspec.cli.report import Report

HELP = "check a spec and report all that is wrong with it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Specs."""
    common.specs(parser)


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Check specs and report everything that is wrong."""
    report.result = {"specs": arguments.specs}
    for spec in arguments.specs:
        checked = check_spec(spec)
        report.found(checked.diagnostics)
        if not checked.diagnostics:
            report.say(f"{spec}: fine")
