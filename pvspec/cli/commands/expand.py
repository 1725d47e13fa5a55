"""`pvspec expand`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.files import write
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Failure, Json, Report

HELP = "print what one kernel gets of a spec for several"


def arguments(parser: argparse.ArgumentParser) -> None:
    """A spec, the kernel, and where to write."""
    parser.add_argument("spec", metavar="SPEC|DIR", nargs="?", help="a spec; default: that of Linux 5.10 and later")
    common.include(parser)
    common.target(parser)
    common.config(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="the folder to write the spec's files to; else printed")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Print or write the files of a spec without what is not for one kernel."""
    output: str | None = arguments.output
    with reporting(report):
        config = pvspec.read_config(arguments.config) if arguments.config else None
        found = pvspec.expand_spec(
            arguments.spec,
            kernel=arguments.version,
            machine=arguments.machine,
            config=config,
            in_one=output is None,
            include=arguments.include,
        )
        files: list[Json] = [{"path": file.path, "text": file.text} for file in found]
        report.result = {"files": files, "output": output}
        for file in found:
            if output is None:
                for line in (f"# {file.path}", "", *file.text.split("\n")):
                    report.say(line.expandtabs())
            else:
                _write(Path(output) / file.path, file.text, report)


def _write(path: Path, text: str, report: Report) -> None:
    try:
        os.makedirs(path.parent, exist_ok=True)
    except OSError as error:
        raise Failure(f"{path.parent} cannot be made: {error.strerror}") from None
    report.say(f"{path}: {'written' if write(path, text.encode()) else 'unchanged'}")
