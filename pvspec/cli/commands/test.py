"""`pvspec test`."""

from __future__ import annotations

import argparse

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Json, Report

HELP = "run the tests in a spec"
MAX_SHOWN = 200
"""Failures of one spec's tests that are shown; the others are only counted."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Specs."""
    common.specs(parser)
    common.target(parser)


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Run the tests of each spec; a failed case is a finding."""
    cases: list[Json] = []
    report.result = {"cases": cases}
    for spec in arguments.specs:
        with reporting(report):
            results = pvspec.run_tests(
                spec, kernel=arguments.version, machine=arguments.machine, include=arguments.include
            )
            cases += map(_case_json, results)
            found = [diagnostic for result in results for diagnostic in result.diagnostics]
            report.found(found[:MAX_SHOWN])
            if len(found) > MAX_SHOWN:
                report.say(f"{spec}: {len(found) - MAX_SHOWN} more failures are not shown")
            failed = sum(not result.passed for result in results)
            report.say(f"{spec}: {len(results) - failed} passed, {failed} failed")


def _case_json(result: pvspec.Result) -> Json:
    span = result.span
    place: dict[str, Json] = {"file": span.source.name, "line": span.line, "column": span.column}
    return {"kernel": str(result.target), "test": result.test, **place, "passed": result.passed}
