"""Break it, and see whether a test fails: `python -m tests.mutation [--jobs N] [--only REGEX]`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from tests.mutation import primitives, rules
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutant import Mutant
from tests.mutation.suite import Scratch

RECORD = Path(__file__).with_name("record.json")


def main(arguments: list[str] | None = None) -> int:
    """Print the survivors, keep the record; 1 if there is one that should not have survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="at the same time, each in its own tree")
    parser.add_argument("--only", default="", metavar="REGEX", help="mutants whose names match")
    parser.add_argument("--rest", action="store_true", help="mutants of which the record does not say who noticed them")
    parser.add_argument("--near", action="store_true", help="run only the tests near the change")
    parser.add_argument("--show", action="store_true", help="only show the record")
    parser.add_argument("--list", action="store_true", help="only name them")
    options = parser.parse_args(arguments)
    if options.show:
        print(shown(json.loads(RECORD.read_text(encoding="utf-8"))))
        return 0
    wanted = re.compile(options.only)
    known = {mutant.name: mutant for mutant in every()}
    told = noticed_before(known)
    mutants = [m for m in known.values() if wanted.search(m.name) and not (options.rest and m.name in told)]
    if options.list:
        print(*(mutant.name for mutant in mutants), sep="\n")
        return 0
    for name, noticed in tried(mutants, options.jobs, options.near):
        told = {other: tests for other, tests in told.items() if other != name} | ({name: noticed} if noticed else {})
        RECORD.write_text(json.dumps(as_record(list(known), told), indent=2) + "\n", encoding="utf-8")
    print(shown(as_record(list(known), told)))
    return bool(set(known) - set(told) - set(EQUIVALENT))


def shown(record: dict[str, Any]) -> str:
    """The record in words: how many, and by name those that nobody noticed."""
    unseen = [f"nobody can notice {name}: {why}" for name, why in record["equivalent"].items()]
    lines = [f"{record['noticed']} of {record['mutants']} mutants noticed", *unseen]
    return "\n".join([*lines, *(f"survived: {name}" for name in record["survivors"])])


def every() -> Iterator[Mutant]:
    """All mutants there are."""
    return chain(rules.mutants(), primitives.mutants())


def tried(mutants: Sequence[Mutant], jobs: int, near: bool = False) -> Iterator[tuple[str, str | None]]:
    """Each mutant's name, and what noticed it."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        trees: SimpleQueue[Scratch] = SimpleQueue()
        for number in range(jobs):
            trees.put(tree := Scratch(Path(folder, str(number))))
        if failing := tree.failing(mutants, near):
            sys.exit(f"without a mutant these fail: {'; '.join(failing)}")

        def one(mutant: Mutant) -> tuple[str, str | None]:
            tree = trees.get()
            try:
                noticed = tree.noticed_by(mutant, near)
            finally:
                trees.put(tree)
            print(f"{mutant.name}: {noticed or 'SURVIVED'}", file=sys.stderr, flush=True)
            return mutant.name, noticed

        yield from pool.map(one, mutants)


def noticed_before(known: Container[str]) -> dict[str, str]:
    """What noticed the mutants that there still are, as the record has it."""
    if not RECORD.exists():
        return {}
    noticed: dict[str, str] = json.loads(RECORD.read_text(encoding="utf-8"))["noticed by"]
    return {name: tests for name, tests in noticed.items() if name in known}


def as_record(names: list[str], noticed: dict[str, str]) -> dict[str, Any]:
    """What is kept: how many there are, who noticed them, and who survived, with the reason if that is right."""
    left = [name for name in names if name not in noticed]
    return {
        "mutants": len(names),
        "noticed": len(noticed),
        "equivalent": {name: EQUIVALENT[name] for name in left if name in EQUIVALENT},
        "survivors": [name for name in left if name not in EQUIVALENT],
        "noticed by": dict(sorted(noticed.items())),
    }


if __name__ == "__main__":
    sys.exit(main())
