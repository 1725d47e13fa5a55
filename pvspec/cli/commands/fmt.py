"""`pvspec fmt`."""

from __future__ import annotations

import argparse

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.files import write
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Json, Report

HELP = "bring specs into the canonical layout"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Specs, and whether to write."""
    common.specs(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Rewrite specs in the canonical layout; with --check only say which would change."""
    changed: list[Json] = []
    report.result = {"changed": changed, "written": not arguments.check}
    for spec in arguments.specs:
        with reporting(report):
            for file in (file for file in pvspec.format_spec(spec, include=arguments.include) if file.differs):
                changed.append(str(file.path))
                if arguments.check:
                    report.fail(f"{file.path} is not in the canonical layout; `pvspec fmt {file.path}` rewrites it")
                else:
                    write(file.path, file.after.encode())
                    report.say(f"{file.path}: rewritten")
