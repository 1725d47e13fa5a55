"""`pvspec prove`."""

from __future__ import annotations

import argparse
from typing import cast

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.kernels import reporting
from pvspec.cli.report import Json, Report

HELP = "prove what can be proven of a spec's code, and say what cannot"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Specs, and how much to tell."""
    common.specs(parser)
    common.target(parser)
    parser.add_argument("--regions", action="store_true", help="print when each arm of each chain fires")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Prove each spec's code, and report what was shown of it, how, and what was not."""
    proofs: list[Json] = []
    report.result = {"proofs": proofs}
    for spec in arguments.specs:
        with reporting(report):
            found = pvspec.prove_all(
                spec, kernel=arguments.version, machine=arguments.machine, include=arguments.include
            )
            for proof in found:
                report.found(proof.diagnostics)
                told = cast("dict[str, Json]", proof.as_json(regions=arguments.regions))
                proofs.append({"spec": spec, "kernel": str(proof.target), **told})
                report.say(spec if len(found) == 1 else f"{spec}: {proof.target}")
                for line in proof.lines(regions=arguments.regions):
                    report.say(line)
