"""`pvspec apply`."""

from __future__ import annotations

import argparse

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.kernels import described_kernel, kernel_json, reporting
from pvspec.cli.report import Failure, Report

HELP = "patch the sites of a kernel as it would itself"


def arguments(parser: argparse.ArgumentParser) -> None:
    """A kernel, and the file to write."""
    common.kernel(parser)
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the patched ELF to write")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Patch a kernel's sites and write the patched ELF."""
    output: str = arguments.output
    with reporting(report):
        kernel, machine, spec, dump = described_kernel(arguments)
        patched = pvspec.patch(kernel, machine, spec=spec, dump=dump, include=arguments.include)
        try:
            patched.write(output)
        except OSError as error:
            raise Failure(f"{output} cannot be written: {error.strerror}") from None
        _tell(patched, output, report)


def _tell(patched: pvspec.Patched, output: str, report: Report) -> None:
    bound = patched.bound
    report.warn(bound.warnings)
    if patched.open:
        names = ", ".join(patched.open)
        report.warn([f"other texts are possible, since nothing tells of {names}; `pvspec predict` lists what differs"])
    records = {name: bound.records(name) for name in bound.spec.passes if name in bound.tables}
    absent = [name for name in bound.spec.passes if name not in bound.tables]
    report.result = {
        "output": output,
        "kernel": kernel_json(bound.image),
        "tables": [{"table": name, "records": count} for name, count in records.items()],
        "absent": [*absent],
        "open": [*patched.open],
        "warnings": [*bound.warnings],
        "pokes": patched.pokes,
        "bytes_changed": patched.bytes_changed,
    }
    for name, count in records.items():
        report.say(f"{name:<20} {count:>7} records")
    for name in absent:
        report.say(f"{name:<20} absent: {bound.absence(name)}")
    report.say(f"{output}: {bound.image.release}, {patched.pokes} pokes, {patched.bytes_changed} bytes changed")
