"""`python -m benchmarks`: every figure with its bound; exit code 1 if one is over it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict

from benchmarks import prediction, processes, runtime
from benchmarks.figure import Figure


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sites", type=int, default=100_000, help="sites in the table (default: 100000)")
    parser.add_argument("--reps", type=int, default=15, help="runs, of which the median counts (default: 15)")
    parser.add_argument("--only", choices=("runtime", "processes", "prediction"), help="one part of the figures")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code, so what is measured has
    found = []
    for figure in _figures(arguments):
        found.append(figure)
        if not arguments.json:
            print(figure.line(), flush=True)
    if arguments.json:
        print(json.dumps([asdict(figure) | {"verdict": figure.verdict} for figure in found], indent=2))
    return int(any(figure.verdict == "over" for figure in found))


def _figures(arguments: argparse.Namespace) -> Iterator[Figure]:
    if arguments.only in (None, "runtime"):
        yield from runtime.figures(arguments.sites, arguments.reps)
    if arguments.only in (None, "processes"):
        yield from processes.figures()
    if arguments.only in (None, "prediction"):
        yield from prediction.figures()


if __name__ == "__main__":
    sys.exit(main())
