"""`pvspec compile`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.cli.report import Failure, Report
from pvspec.compiler.pipeline import compile_spec
from pvspec.lang.diagnostics import SpecError
from pvspec.support.output import write_file


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Compile a spec and write the module, if it changed."""
    output = Path(arguments.output)
    report.result = {"output": str(output), "written": False}
    try:
        text = compile_spec(Path(arguments.spec))
    except SpecError as error:
        report.found(error.diagnostics)
        return
    try:
        report.result["written"] = write_file(output, text.encode())
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror}") from None
    report.say(f"{output}: {'written' if report.result['written'] else 'unchanged'}")
