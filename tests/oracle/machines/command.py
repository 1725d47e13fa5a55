"""`python -m tests.oracle machines`: machines made at random, and what is predicted of them.

Each is compared three times: predicted from all facts, from /proc/cpuinfo, and from that and the vulnerabilities files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .. import fetch
from ..cases import KERNELS
from . import chance, records
from .bench import Bench, open_bench
from .described import KNOWN, Known
from .judge import ALIKE, Verdict, fails, judged
from .shrink import shrunk
from .trial import Trial, TrialError, from_json

_EACH = 8  # machines that a process takes at a time


class Outcome(NamedTuple):
    """What came of one machine; no verdicts: it died, and `said` says of what."""

    number: int
    trial: Trial
    verdicts: dict[Known, Verdict] | None
    said: str = ""


def main(arguments: Sequence[str]) -> int:
    """Run the command; 1 if a prediction `fails`."""
    options = _parser().parse_args(arguments)
    if options.show:
        print("\n".join(records.table(options.records)))
        return 0
    try:
        chosen = packages(options.kernel)
        if options.machine is not None:
            trial = from_json(options.machine)
            return max(_one(name, open_bench(package), trial) for name, package in chosen)
    except TrialError as error:
        print(f"--machine: {error}", file=sys.stderr)
        return 2
    return max(_many(name, package, options) for name, package in chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle machines", description=__doc__)
    parser.add_argument("--n", type=int, default=60, metavar="N", help="machines for each kernel (default: 60)")
    parser.add_argument("--seed", default="0", help="another seed makes other machines (default: 0)")
    parser.add_argument(
        "--kernel",
        default="",
        metavar="NAME",
        help="6.12: its cloud flavour; 6.1-686-pae; a package's path (default: the cloud flavour of each version)",
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="machines at a time (default: 2)")
    parser.add_argument("--resume", action="store_true", help="do not run again what the records have")
    parser.add_argument("--shrink", type=int, default=3, metavar="N", help="disagreements to make small (default: 3)")
    parser.add_argument("--machine", metavar="JSON", help="one machine, as this command prints them")
    parser.add_argument("--show", action="store_true", help="print the table of all records")
    parser.add_argument("--records", type=Path, default=records.FOLDER, metavar="DIR", help="keep the records in DIR")
    return parser


def packages(name: str) -> list[tuple[str, Path]]:
    """The kernels that a name means, with their packages; Unavailable if it means none."""
    if Path(name).is_file():
        return [(name, Path(name))]
    version, dash, flavour = name.partition("-")
    wanted = flavour if dash else "cloud-amd64"
    found = [kernel for kernel in KERNELS if version in ("", kernel.version) and kernel.flavour == wanted]
    if not found:
        raise fetch.Unavailable(f"no kernel {name}; there are: {', '.join(kernel.name for kernel in KERNELS)}")
    return [(kernel.name, kernel.package()) for kernel in found]


def _one(name: str, bench: Bench, trial: Trial) -> int:
    """Run and judge one machine, and say all about it."""
    seen = bench.observe(trial)
    if seen.died:
        print(f"{name}: {seen.died}")
        return 1
    flags, bugs = bench.subject.shown(seen.after)
    print(f"{name}: {seen.online} of {seen.present} processors, {seen.threads} threads a core, returns: {seen.thunk}")
    print(f"flags: {' '.join(flags)}\nbugs: {' '.join(bugs)}")
    for file, text in seen.shown.items():
        print(f"{file}: {text}")
    verdicts = judged(bench, trial, seen)
    for known, verdict in verdicts.items():
        print(f"{known}: {told(verdict)}")
    return int(any(fails(known, verdict) for known, verdict in verdicts.items()))


def told(verdict: Verdict) -> str:
    """A verdict in words."""
    parts = [verdict.outcome, " ".join(verdict.features), verdict.said]
    return ", ".join(part for part in [*parts, f"{verdict.wrong} bytes" if verdict.wrong else ""] if part)


def _many(name: str, package: Path, options: argparse.Namespace) -> int:
    bench = _bench(package)
    release, by = bench.subject.image.release, records.made_by()
    kept = records.read(release, options.records).get(options.seed)
    done = list(kept.machines) if options.resume and kept and kept.by == by else []
    failed: dict[tuple[Known, tuple[str, ...]], Outcome] = {}  # the first of each kind
    for outcome in _run(package, options.seed, range(len(done), options.n), options.jobs):
        done.append(records.letters(outcome.trial.kind, outcome.verdicts))
        if len(done) % _EACH == 0 or len(done) == options.n:
            records.write(release, records.Record(options.seed, by, tuple(done)), options.records)
        for known, verdict in (outcome.verdicts or {}).items():
            if fails(known, verdict):
                failed.setdefault((known, verdict.features), outcome)
            if verdict.outcome != ALIKE:
                print(f"{name} {options.seed}.{outcome.number} {known}: {told(verdict)}", flush=True)
    for known, features in sorted(failed, key=lambda kind: KNOWN.index(kind[0]))[: options.shrink]:
        outcome = failed[known, features]
        assert outcome.verdicts is not None
        small, verdict = shrunk(bench, outcome.trial, known, outcome.verdicts[known])
        print(f"{name} {known}: {told(verdict)}\n  {_command(name, small)}", flush=True)
    return int(bool(failed))


def _command(name: str, trial: Trial) -> str:
    return f"python -m tests.oracle machines --kernel {name} --machine {shlex.quote(trial.to_json())}"


def _run(package: Path, seed: str, numbers: range, jobs: int) -> Iterator[Outcome]:
    """What comes of a seed's machines, in order."""
    parts = [numbers[at : at + _EACH] for at in range(0, len(numbers), _EACH)]
    if jobs == 1:
        for part in parts:
            yield from tried(package, seed, part)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for outcomes in pool.map(tried, [package] * len(parts), [seed] * len(parts), parts):
            yield from outcomes


def tried(package: Path, seed: str, numbers: Sequence[int]) -> list[Outcome]:
    """What comes of a seed's machines of these numbers."""
    return [_tried(_bench(package), seed, number) for number in numbers]


def _tried(bench: Bench, seed: str, number: int) -> Outcome:
    trial = chance.trial(bench.subject, seed, number)
    seen = bench.observe(trial)
    if seen.died:
        return Outcome(number, trial, None, seen.died)
    return Outcome(number, trial, dict(judged(bench, trial, seen)))


@cache
def _bench(package: Path) -> Bench:
    return open_bench(package)
