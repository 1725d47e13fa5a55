"""What a comparison must notice, on a small kernel that nobody boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.kernel import open_kernel
from pvspec.prediction import Prediction
from pvspec.prediction.bind import bind
from pvspec.prediction.machine import Machine
from pvspec.prediction.passes import run_passes
from tests.prediction.kernel import build

from .compare import unexplained


@pytest.fixture
def prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prediction:
    monkeypatch.chdir(tmp_path)
    vmlinux = build()
    return run_passes(bind(load_spec(Path("kernel.pvs")), open_kernel(vmlinux), Machine(cpus=1, features=("XMM2",))))


def text_with(prediction: Prediction, name: str, code: str) -> tuple[bytes, int]:
    """The predicted text with other code at a symbol, and the address of that."""
    address = prediction.bound.image.symbols.address(name)
    assert address is not None
    text, data = bytearray(prediction.text), bytes.fromhex(code)
    text[address - prediction.start : address - prediction.start + len(data)] = data
    return bytes(text), address


def test_nothing_differs(prediction: Prediction) -> None:
    assert unexplained(prediction, bytes(prediction.text)) == set()


def test_another_legal_form(prediction: Prediction) -> None:
    """A label that is off, a call to another function."""
    for name, code in (("labelled", "0f 1f 44 00 00"), ("called", "e8 11 22 33 44"), ("called", "0f 1f 44 00 00")):
        assert unexplained(prediction, text_with(prediction, name, code)[0]) == set()


@pytest.mark.parametrize(
    ("name", "code", "wrong"),
    [
        ("labelled", "0f 1f 44 00 01", {0, 1, 2, 4}),  # no legal form
        ("labelled", "e9 0d 00 00 00", {1}),
        ("alternative", "f0 83 44 24 fc 00", {0, 1, 2, 3, 4}),  # as it was built: not two-formed
        ("start", "cc", {0}),  # no site at all
    ],
)
def test_what_is_no_legal_form(prediction: Prediction, name: str, code: str, wrong: set[int]) -> None:
    text, address = text_with(prediction, name, code)
    assert {place - address for place in unexplained(prediction, text)} == wrong
