"""Two texts side by side: whose site a difference is."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.compiler.cached import load_spec
from pvspec.kernel import open_kernel
from pvspec.prediction import Prediction, PredictionError, compare
from pvspec.prediction.bind import bind
from pvspec.prediction.difference import difference, masks
from pvspec.prediction.explanation import explain_bound
from pvspec.prediction.machine import Machine
from pvspec.prediction.passes import run_passes

from .kernel import SOURCE, build


@pytest.fixture
def prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prediction:
    """The small kernel with a lock prefix that begins its alternative, so that two tables have a site there."""
    monkeypatch.chdir(tmp_path)
    vmlinux = build(SOURCE.replace(".long locked - .,", ".long alternative - .,"))
    return run_passes(bind(load_spec(Path("kernel.pvs")), open_kernel(vmlinux), Machine(cpus=1, features=("XMM2",))))


def compared(prediction: Prediction, *offsets: int) -> list[tuple[str | None, int, int]]:
    """Family, offset from the alternative and length, where the text differs at offsets from there."""
    address = prediction.bound.image.symbols.address("alternative")
    assert address is not None
    first, second = bytes(prediction.text), bytearray(prediction.text)
    for offset in offsets:
        second[address - prediction.start + offset] ^= 0xFF
    found = difference(prediction, first, bytes(second))
    for item in found:
        part = slice(item.address - prediction.start, item.address - prediction.start + len(item.first))
        assert (item.first, item.second) == (first[part], bytes(second[part]))
    return [(item.table, item.address - address, len(item.first)) for item in found]


def test_the_last_pass_that_has_a_site_there(prediction: Prediction) -> None:
    assert compared(prediction, 0) == [("smp_locks", 0, 1)]
    assert compared(prediction, 1) == [("alternatives", 0, 6)]
    assert sorted(compared(prediction, 0, 5), key=str) == [("alternatives", 0, 6), ("smp_locks", 0, 1)]


def test_bytes_of_no_table_are_runs(prediction: Prediction) -> None:
    assert compared(prediction, -3, -2, -1) == [(None, -3, 3)]
    assert compared(prediction, -3, -1, 6) == [(None, -3, 1), (None, -1, 1), ("jump_labels", 6, 5)]


def test_nothing(prediction: Prediction) -> None:
    assert compared(prediction) == []


@given(st.binary(max_size=40), st.binary(min_size=40, max_size=40), st.integers(4080, 4110))
def test_masks(one: bytes, other: bytes, at: int) -> None:
    """Over the end of a page, too."""
    first = bytes(at) + one
    second = bytes(at) + other[: len(one)]
    found = [page + at for page, mask in masks(first, second) for at, differs in enumerate(mask) if differs]
    assert found == [n for n in range(len(first)) if first[n] != second[n]]


def test_texts_of_two_kernels(prediction: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused by the number of their differences, not listed."""
    monkeypatch.setattr(import_module("pvspec.prediction.difference"), "_MAX_RUNS", 2)
    assert compared(prediction, -5, -3) == [(None, -5, 1), (None, -3, 1)]
    with pytest.raises(PredictionError, match="they differ in more than 2 places where no table has a site"):
        compared(prediction, -5, -3, -1)


def test_a_text_that_is_none(prediction: Prediction) -> None:
    with pytest.raises(PredictionError, match="a text is bytes, and this one int"):
        compare(prediction, bytes(prediction.text), 1 << 40)  # type: ignore[arg-type]  # what a caller may get wrong


def test_records_of_one_address(prediction: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a kernel may have are told, more are refused."""
    address = prediction.bound.image.symbols.address("alternative")
    assert address is not None
    number = len(prediction.at(address))
    monkeypatch.setattr("pvspec.prediction.explanation._MAX_STEPS", number)
    assert len(explain_bound(prediction.bound, address).steps) == number > 1
    monkeypatch.setattr("pvspec.prediction.explanation._MAX_STEPS", number - 1)
    with pytest.raises(PredictionError, match=f"{number} records have a site at {address:#x}"):
        explain_bound(prediction.bound, address)
