"""Each bound says what it is, and docs/limits.md can show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import limits

BOUNDS = list(limits.bounds())


def test_bounds_are_found() -> None:
    assert {"pvspec/kernel/work.py: MAX_WORK", "pvspec/proof/regions.py: MAX_CELLS"} <= set(map(str, BOUNDS))


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bound_says_what_it_bounds(bound: limits.Bound) -> None:
    assert re.fullmatch(r"[A-Z`].*\w.*\.", bound.text), f"{bound} needs a string below it that says what it bounds"


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_bound_is_a_number(bound: limits.Bound) -> None:
    assert isinstance(bound.value, int)
    assert bound.value > 0


@pytest.mark.parametrize("path", sorted(limits.PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_a_bound_bears_the_name_of_one(path: Path) -> None:
    """A number that is called a limit, or the most that there may be, is one of those that the page lists."""
    code = path.read_text(encoding="utf-8")
    assert re.findall(r"^_?(?:LIMIT|MOST|MAXIMUM) = [\d(].*", code, re.M) == []


@pytest.mark.parametrize("path", sorted(limits.PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_each_file_has_a_heading(path: Path) -> None:
    file = path.relative_to(limits.PACKAGE).as_posix()
    if "/" in file and not file.endswith("__init__.py"):
        assert limits.group(file) in limits.GROUPS


CODE = '''
MAX_READ = 16 << 20
"""Bytes of an entry | a file;
more is refused."""

_MAX_BARE: int = 40
OTHER = 3
"""Not a bound."""
'''


def test_the_string_below_a_bound_is_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_module", lambda file: type(file, (), {"MAX_READ": 16 << 20, "_MAX_BARE": 40}))
    read, bare = limits.bounds_of("support/cache.py", CODE)
    assert (read.name, read.value, read.text) == ("MAX_READ", 16 << 20, "Bytes of an entry | a file; more is refused.")
    assert (bare.name, bare.value, bare.text) == ("_MAX_BARE", 40, "")
    row = r"| 16 MiB | Bytes of an entry \| a file; more is refused. | `pvspec/support/cache.py` `MAX_READ` |"
    assert row in limits.tables([read, bare]).splitlines()


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        (1 << 30, "Bytes of a file.", "1 GiB"),
        (3 << 30, "Bytes of a file.", "3 GiB"),
        (576 << 20, "The largest file, in bytes, that is read.", "576 MiB"),
        (64 << 10, "Bytes of a file.", "64 KiB"),
        (1500, "Bytes of a file.", "1,500"),
        (15, "Bytes of a nop.", "15"),
        (1 << 20, "Records of 16 bytes.", "1,048,576"),
        (1_000_000, "Symbols.", "1,000,000"),
        ((1 << 64) - 1, "A number.", "2^64 - 1"),
        (0xFFFF, "A number.", "65,535"),
    ],
)
def test_values_are_shown_as_people_read_them(value: int, text: str, shown: str) -> None:
    assert limits.shown(limits.Bound("support/cache.py", "MAX_READ", value, text)) == shown
