"""Inputs that once broke a target: `found/TARGET.WHAT-IT-WAS.input`, each tried within the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cell import outcomes
from tests.fuzz.targets import TARGETS

FOUND = sorted(Path(__file__).with_name("found").glob("*.input"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_it_is_mended(path: Path) -> None:
    target = TARGETS[path.name.partition(".")[0]]
    (outcome,) = outcomes(target.run, [path.read_bytes()], target.seconds, 0)
    assert outcome.crash == ""


def test_some_were_found() -> None:
    assert FOUND
