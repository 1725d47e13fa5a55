"""Try the oldest and the newest libraries on each Python that can be had: `python -m tests.versions [--only REGEX]`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pvspec.support.paths import cache_folder
from tests.versions import cell, table
from tests.versions.pythons import Python, Unavailable, find


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep the record and print its tables; 1 if something failed, or could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help='those whose names match, such as "3.12 oldest"')
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="at the same time")
    parser.add_argument("--show", action="store_true", help="only show the record")
    options = parser.parse_args(arguments)
    if not options.show:
        try_all([name for name in table.cells() if re.search(options.only, name)], options.jobs)
    record = table.read()
    print(table.tables(record), end="")
    fine = not any(result["failed"] for result in record["tried"].values())
    return 0 if fine and not set(table.cells()) - set(record["tried"]) else 1


def try_all(names: Sequence[str], jobs: int) -> None:
    """Run these cells; the record gets each in turn."""
    cache = cache_folder()
    if cache is None:
        sys.exit("there is no cache folder: set PVSPEC_CACHE")
    folder = cache.absolute() / "versions"
    folder.mkdir(parents=True, exist_ok=True)
    known = dict(found({name.split()[0] for name in names}, folder))

    def one(name: str) -> tuple[str, cell.Result]:
        version, which = name.split()
        say(f"{name}: {known[version].version}, in {folder}")
        return name, cell.run(known[version], which == "oldest", folder / f"{version}-{which}")

    with ThreadPoolExecutor(jobs) as pool:
        for name, result in pool.map(one, [name for name in names if name.split()[0] in known]):
            say(f"{name}: {result['failed'] or 'fine'}; {result['tests']}")
            table.keep(name, result)


def found(versions: set[str], folder: Path) -> Iterator[tuple[str, Python]]:
    """The Pythons that can be had; why the others cannot goes to the record."""
    for version in sorted(versions):
        try:
            yield version, find(version, folder)
        except Unavailable as reason:
            say(f"{version}: {reason}")
            table.keep_reason(version, str(reason))


def say(text: str) -> None:
    """Tell how far it has got."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
