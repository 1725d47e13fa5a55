"""`pvspec test`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pvspec.cli.report import Failure, Report
from pvspec.compiler.pipeline import check_spec, import_text
from pvspec.compiler.printout import render
from pvspec.lang.diagnostics import SpecError
from pvspec.spectest import Result, run_tests


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Run the tests of each spec; a failed case is a finding."""
    cases: list[dict[str, Any]] = []
    report.result = {"cases": cases}
    for spec in arguments.specs:
        try:
            program = check_spec(Path(spec)).sound()
        except SpecError as error:
            report.found(error.diagnostics)
            continue
        module = import_text(render(program), "pvspec.generated.tested")
        results = list(run_tests(program.spec, module))
        if not results:
            raise Failure(f"{spec}: there is no test")
        for result in results:
            report.found(result.diagnostics)
            cases.append(_case_json(result))
        failed = sum(not result.passed for result in results)
        report.say(f"{spec}: {len(results) - failed} passed, {failed} failed")


def _case_json(result: Result) -> dict[str, Any]:
    span = result.span
    place = {"file": span.source.name, "line": span.line, "column": span.column}
    return {"test": result.test, **place, "passed": result.passed}
