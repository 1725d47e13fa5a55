"""`pvspec check`."""

from __future__ import annotations

import argparse

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Report

HELP = "check a spec and report all that is wrong with it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Specs, and what counts as wrong."""
    common.specs(parser)
    common.target(parser)
    parser.add_argument("--deny-warnings", action="store_true", help="fail if there is a warning")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Check specs and report everything that is wrong."""
    report.result = {"specs": arguments.specs}
    warnings = 0
    for spec in arguments.specs:
        with reporting(report):
            checked = pvspec.check_spec(
                spec, kernel=arguments.version, machine=arguments.machine, include=arguments.include
            )
            report.found(checked.findings)
            warnings += len(checked.warnings)
            if not checked.diagnostics:
                report.say(f"{spec}: {_count(len(checked.warnings)) if checked.warnings else 'fine'}")
    if warnings and arguments.deny_warnings:
        report.fail(f"{_count(warnings)}; --deny-warnings allows none")


def _count(warnings: int) -> str:
    return f"{warnings} warning{'' if warnings == 1 else 's'}"
