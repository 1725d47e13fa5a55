"""`pvspec simulate`."""

from __future__ import annotations

import argparse
from typing import cast

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.files import write
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Json, Report

HELP = "patch a small kernel that runs what it patches, in ways that fail and ways that do not"
STRATEGIES = ("two-stage", "unfilled", "marshalled", "breakpoint")


def arguments(parser: argparse.ArgumentParser) -> None:
    """A spec, a backend, the ways to patch."""
    parser.add_argument("spec", metavar="SPEC|DIR", nargs="?", help="an i386 spec; default: Linux 2.6.23's")
    common.include(parser)
    common.target(parser)
    parser.add_argument("--backend", metavar="NAME", default="xen", help="who answers the ops (xen)")
    parser.add_argument("--strategy", choices=(*STRATEGIES, "all"), default="all", help="the way to patch (all)")
    parser.add_argument("--svg", metavar="FILE", help="draw each moment of a patch against a second processor")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Replay strategies in a guest; a claim that does not hold is an error."""
    strategies = STRATEGIES if arguments.strategy == "all" else (arguments.strategy,)
    with reporting(report):
        simulation = pvspec.simulate(
            arguments.spec,
            backend=arguments.backend,
            strategies=strategies,
            kernel=arguments.version,
            machine=arguments.machine,
            include=arguments.include,
        )
        report.result = cast("dict[str, Json]", simulation.as_json())
        for line in simulation.lines():
            report.say(line)
        for claim in simulation.claims:
            if not claim.held:
                report.fail(f"not as claimed: {claim.text}")
        if arguments.svg:
            written = write(arguments.svg, simulation.picture().encode())
            report.result = {**report.result, "svg": arguments.svg, "written": written}
            report.say(f"{arguments.svg}: {'written' if written else 'unchanged'}")
