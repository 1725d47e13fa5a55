"""The record of what was tried, and its tables in CONTRIBUTING.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from tests.versions.bounds import PYTHONS, ROOT, requirements
from tests.versions.cell import Result

RECORD = Path(__file__).with_name("record.json")
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- versions: python -m tests.versions -->\n", "<!-- end of versions -->\n"
WHICH = ("oldest", "newest")

Record = TypedDict("Record", {"tried": dict[str, Result], "not had": dict[str, str]})
"""The result of each cell ("3.12 oldest"), and why a Python could not be had."""


def read() -> Record:
    """The record; an empty one if nothing was tried yet."""
    empty: Record = {"tried": {}, "not had": {}}
    record: Record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else empty
    return record


def keep(name: str, result: Result) -> None:
    """Put a result into the record."""
    record = read()
    record["not had"].pop(name.split()[0], None)
    record["tried"][name] = result
    _write(record)


def keep_reason(version: str, reason: str) -> None:
    """Put into the record that a Python cannot be had; results from where it could be stay."""
    record = read()
    if not any(f"{version} {which}" in record["tried"] for which in WHICH):
        record["not had"][version] = reason
        _write(record)


def _write(record: Record) -> None:
    record["tried"] = {name: record["tried"][name] for name in cells() if name in record["tried"]}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def cells() -> list[str]:
    """The names of all that is to be tried, in order."""
    return [f"{version} {which}" for version in PYTHONS for which in WHICH]


def with_tables(page: str) -> str:
    """The page with the record's tables between its markers, in place of what was there."""
    found = re.search(f"({BEGIN}).*({END})", page, re.S)
    assert found, f"{PAGE.name} has no markers"
    return page[: found.end(1)] + "\n" + tables(read()) + "\n" + page[found.start(2) :]


def tables(record: Record) -> str:
    """What each Python came to with each set of libraries; and which versions these were."""
    return "\n".join([*_of_results(record), "", *_of_libraries(record), ""])


def _of_results(record: Record) -> Iterable[str]:
    yield from ("| Python | libraries | tests | failed |", "|---|---|---|---|")
    for name in cells():
        version, which = name.split()
        if result := record["tried"].get(name):
            failed = "; ".join(f"{step}: {line}" for step, line in result["failed"].items()) or "nothing"
            tests = re.sub(r", \d+ (deselected|warning).*| in .*", "", result["tests"])
            yield f"| {result['python']} | {which} | {tests} | {failed} |"
        else:
            yield f"| {version} | {which} | not tried | {record['not had'].get(version, 'not tried yet')} |"


def _of_libraries(record: Record) -> Iterable[str]:
    yield from ("| library | oldest | newest |", "|---|---|---|")
    for name in sorted({one.name for one in requirements()}, key=str.lower):
        yield f"| {name} | {' | '.join(_versions(record, name, which) for which in WHICH)} |"


def _versions(record: Record, library: str, which: str) -> str:
    """The version that was tried; if it was not the same with each Python, each with the first that had it."""
    had: dict[str, str] = {}
    for name, result in record["tried"].items():
        if name.endswith(which) and (version := result["libraries"].get(library)):
            had.setdefault(version, name.split()[0])
    first, *others = had or [""]
    return ", ".join([first, *(f"{version} (Python {had[version]})" for version in others)])
