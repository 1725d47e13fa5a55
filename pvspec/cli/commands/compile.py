"""`pvspec compile`."""

from __future__ import annotations

import argparse

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.files import write
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Report

HELP = "compile a spec to a Python module of patch functions"


def arguments(parser: argparse.ArgumentParser) -> None:
    """A spec and the module to write."""
    parser.add_argument("spec", metavar="SPEC|DIR", help="a spec file, or a directory of them")
    common.include(parser)
    common.target(parser)
    parser.add_argument("-o", "--output", metavar="OUT.py", required=True, help="the module to write")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Compile a spec and write the module, if it changed."""
    output: str = arguments.output
    report.result = {"output": output, "written": False}
    with reporting(report):
        text = pvspec.compile_spec(
            arguments.spec, kernel=arguments.version, machine=arguments.machine, include=arguments.include
        )
        written = write(output, text.encode())
        report.result = {"output": output, "written": written}
        report.say(f"{output}: {'written' if written else 'unchanged'}")
