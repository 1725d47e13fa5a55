"""The order of passes: which pairs of tables are only assumed to share no site."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec
from pvspec.compiler.sound.order import unknown_overlaps
from pvspec.lang.diagnostics import Work

SPEC = """
machine pc {{ bits 32  nops p6 {{ "90" }}  choose nops p6 }}
interface ops {{ table "t" {{ addr u32 type u8 len u8 clobber u16 }} op halt 3 len 6 }}
backend b for ops {{ otherwise = keep }}
family f {{ table "f" {{ site u32 }}  len 6  symbol g  {first} }}
family l {{ table "{table}" {{ site u32 }}  len 6  symbol g  {later} }}
passes {{ {passes} }}
"""
BRANCH = "nop when site is jmp g"


@pytest.mark.parametrize(
    ("first", "later", "table", "passes", "pairs"),
    [
        ("nop", BRANCH, "l", "f, l", [("f", "l")]),
        ("nop", BRANCH, "l", "l, f", []),
        ("keep", BRANCH, "f", "f, l", []),
        ("nop", BRANCH, "l", "f, ops, l", [("f", "l"), ("ops", "l")]),
        ("keep", BRANCH, "f", "f, ops, l", [("ops", "l")]),
        ("nop", "keep when site is jmp g", "l", "f, l", []),
        ("nop", "nop", "l", "f, l", []),
        ("nop", BRANCH, "l", "f, l, ops", [("f", "l")]),
        ("nop", "nop when site is jmp g or site is call g", "l", "f, l", [("f", "l")]),
        ("nop", 'nop when site is jmp g or site begins "90"', "l", "f, l", []),
        ("nop", 'nop when site is jmp g and site begins "90"', "l", "f, l", [("f", "l")]),
    ],
)
def test_tables_of_their_own(
    tmp_path: Path, first: str, later: str, table: str, passes: str, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path / "order.pvs"
    path.write_text(SPEC.format(first=first, later=later, table=table, passes=passes), encoding="utf-8")
    program = check_spec(path).program
    assert program is not None
    assert list(unknown_overlaps(program.spec, Work())) == pairs


@pytest.mark.parametrize(
    ("first", "later", "destroyed"),
    [
        ("nop", BRANCH, True),
        ("keep nop", BRANCH, False),
        ('bug "no" nop', BRANCH, False),
        ("keep when site is jmp g nop", BRANCH, True),
        ("jmp g", BRANCH, False),
        ("jmp short g", BRANCH, True),
        ("jmp g + 1", BRANCH, True),
        ("call g", BRANCH, True),
        ("call g", "nop when site is call g", False),
        ("cs jmp g", BRANCH, True),
        ("cs jmp g", "nop when site is cs jmp g", False),
        ("jmp g", "nop when site is cs jmp g", True),
        ("nop when site is call g", BRANCH, False),
        ('nop when site is call g and site begins "e8"', BRANCH, False),
        ('nop when site is call g or site begins "e9"', BRANCH, True),
        ("nop when site is call g or site is jmp g", BRANCH, True),
        ("nop when site is jmp g", BRANCH, True),
        ("nop", "keep when site is jmp g", False),
    ],
)
def test_one_table(tmp_path: Path, first: str, later: str, destroyed: bool) -> None:
    path = tmp_path / "order.pvs"
    path.write_text(SPEC.format(first=first, later=later, table="f", passes="f, l"), encoding="utf-8")
    found = check_spec(path).diagnostics
    assert {finding.code for finding in found} <= {"PV302", "PV307"}, [finding.message for finding in found]
    assert ("PV307" in {finding.code for finding in found}) == destroyed
