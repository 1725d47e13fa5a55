"""`python -m tests.oracle matrix`: every case booted, predicted and compared, with a result kept for each.

What is known is not done again: a boot's dump is kept, and so is a result, until its boot, the specs or the program
change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TypedDict, TypeVar

from pvspec.kernel import ImageError
from pvspec.lang.diagnostics import SpecError
from pvspec.prediction.cpu import CpuError

from . import fetch
from .boot import WAYS, Dump, boot
from .cases import Case, cases
from .compare import Counts, compare
from .qemu import GuestError

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("matrix.json")
PREDICTOR = ["pvspec", "grammar", "specs", "templates", "tests/oracle/compare.py"]
"""What a prediction depends on besides the boot."""
TIMEOUT = 900  # seconds, for a nested guest while other boots run


class CaseError(Exception):
    """A case that cannot be predicted; the text says why."""


class Result(TypedDict):
    """What is kept of a case: which boot it was, a digest of the predictor, and the counts."""

    boot: str
    predictor: str
    counts: Counts


def main(arguments: Sequence[str]) -> int:
    """Run the command; 1 if a case fails or a byte of it is predicted wrong."""
    options = _parser().parse_args(arguments)
    chosen = list(cases(options.only))
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    if options.boot_only:
        return _boot_all(chosen, options.jobs)
    return _compare_all(chosen, options.jobs, options.results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle matrix", description=__doc__)
    parser.add_argument(
        "--only", type=_pattern, default="", metavar="REGEX", help="the cases in whose names REGEX is found"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, choices=range(1, 65), metavar="N", help="cases at a time (default: 2)"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--boot-only", action="store_true", help="boot, and print each case with its dump's directory")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="keep the results in FILE")
    return parser


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as problem:
        raise argparse.ArgumentTypeError(f"no regular expression: {problem}") from None
    return text


def _boot_all(chosen: Sequence[Case], jobs: int) -> int:
    failed = 0
    for case, dump in _each(_booted, chosen, jobs):
        if dump is None:
            failed += 1
        else:
            print(case.name, dump.directory, sep="\t", flush=True)
    return 1 if failed else 0


def _compare_all(chosen: Sequence[Case], jobs: int, file: Path) -> int:
    """Results appear in the file as they come, sorted by case; those of other cases stay."""
    results: dict[str, Result] = json.loads(file.read_text()) if file.exists() else {}
    judge = partial(_judged, predictor=predictor(PREDICTOR), kept=results.copy())
    wrong = 0
    for case, result in _each(judge, chosen, jobs):
        if result is None:
            results.pop(case.name, None)
            wrong += 1
        else:
            results[case.name] = result
            wrong += bool(result["counts"]["wrong_with_state"] or result["counts"]["unexplained"])
            print(f"{case.name}: {_line(result['counts'])}", flush=True)
        file.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return 1 if wrong else 0


def _line(counts: Counts) -> str:
    return (
        f"{counts['changed']} of {counts['text']} bytes changed, {counts['wrong_with_state']} wrong; without state "
        f"{counts['wrong_without_state']}, {counts['unexplained']} of them in no two-formed site"
    )


def _judged(case: Case, predictor: str, kept: Mapping[str, Result]) -> Result:
    dump = _booted(case)
    known = kept.get(case.name)
    if known and (known["boot"], known["predictor"]) == (dump.directory.name, predictor):
        return known
    try:
        counts = compare(case.kernel.package(), case.machine, dump)
    except (CpuError, ImageError, CaseError, SpecError) as error:
        raise CaseError(str(error)) from None  # a SpecError cannot go from process to process
    return Result(boot=dump.directory.name, predictor=predictor, counts=counts)


def _booted(case: Case) -> Dump:
    return boot(case.kernel.package(), fetch.busybox(case.kernel.arch), case.machine, timeout=TIMEOUT)


def predictor(parts: Sequence[str]) -> str:
    """A digest of files and of all files in folders, by their paths in the project."""
    digest = hashlib.sha256()
    for path in sorted(path for part in parts for path in _files(ROOT / part)):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def _files(part: Path) -> Iterator[Path]:
    found = part.rglob("*") if part.is_dir() else [part]
    return (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _each(work: Callable[[Case], T], chosen: Sequence[Case], jobs: int) -> Iterator[tuple[Case, T | None]]:
    """What `work` makes of each case, as soon as it is known; None if it cannot, and the reason goes to stderr."""
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        submitted = {_submit(pool, work, case): case for case in chosen}
        for done in as_completed(submitted):
            yield submitted[done], _result(submitted[done], done)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(case: Case, done: Future[T]) -> T | None:
    try:
        return done.result()
    except (fetch.Unavailable, GuestError, CaseError) as reason:
        print(f"{case.name}: {reason}", file=sys.stderr, flush=True)
        return None


def _submit(pool: Executor, work: Callable[[Case], T], case: Case) -> Future[T]:
    """Downloads are made here, since apt is not for two processes at a time."""
    try:
        case.kernel.package()
        fetch.busybox(case.kernel.arch)
        WAYS[case.machine.hypervisor].parts()
    except fetch.Unavailable as reason:
        failed: Future[T] = Future()
        failed.set_exception(reason)
        return failed
    return pool.submit(work, case)
