"""`pvspec simulate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.cli.report import Failure, Report
from pvspec.compiler.pipeline import check_spec, import_text
from pvspec.compiler.printout import render
from pvspec.lang.diagnostics import SpecError
from pvspec.simulation.claims import simulate
from pvspec.simulation.guest import Guest, SimulationError, build
from pvspec.simulation.picture import picture
from pvspec.simulation.report import as_json, lines
from pvspec.simulation.strategies import STRATEGIES
from pvspec.support.output import write_file
from pvspec.support.paths import resource


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Replay strategies in a guest; a claim that does not hold is an error."""
    strategies = list(STRATEGIES) if arguments.strategy == "all" else [arguments.strategy]
    spec = Path(arguments.spec) if arguments.spec else resource("specs", "linux-2.6.23", "i386")
    try:
        module = import_text(render(check_spec(spec).sound()), "pvspec.generated.simulated")
        guest = build(module, arguments.backend)
        simulation = simulate(guest, strategies)
    except SpecError as error:
        report.found(error.diagnostics)
        return
    except SimulationError as error:
        raise Failure(str(error)) from None
    report.result = as_json(simulation)
    for line in lines(simulation):
        report.say(line)
    for claim in simulation.claims:
        if not claim.held:
            report.fail(f"not as claimed: {claim.text}")
    if arguments.svg:
        _draw(guest, strategies, arguments.svg, report)


def _draw(guest: Guest, strategies: list[str], path: str, report: Report) -> None:
    try:
        written = write_file(Path(path), picture(guest, strategies).encode())
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None
    report.result |= {"svg": path, "written": written}
    report.say(f"{path}: {'written' if written else 'unchanged'}")
