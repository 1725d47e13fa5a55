"""The mutants are what they say; that tests notice them is asked by `python -m tests.mutation`."""

from __future__ import annotations

import ast
import json
from collections import Counter

import pytest

from tests.mutation.__main__ import RECORD, every
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutant import ROOT


def test_each_is_another_program() -> None:
    for mutant in every():
        before = ast.parse(ROOT.joinpath(mutant.file).read_text(encoding="utf-8"))
        assert ast.dump(ast.parse(mutant.text)) != ast.dump(before), mutant.name


def test_each_has_its_name() -> None:
    names = Counter(mutant.name for mutant in every())
    assert [name for name, count in names.items() if count > 1] == []
    assert names.keys() >= EQUIVALENT.keys()


@pytest.mark.skipif(not RECORD.exists(), reason="no whole run has been recorded yet")
def test_nothing_survived() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["survivors"] == []
    assert record["noticed"] == len(record["noticed by"])
    assert record["mutants"] == record["noticed"] + len(record["equivalent"])
