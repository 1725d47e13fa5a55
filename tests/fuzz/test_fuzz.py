"""Each target for a while, with inputs that are always the same; longer with `python -m tests.fuzz`."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import loop
from tests.fuzz.__main__ import WEIGHTS, recorded, run
from tests.fuzz.loop import Target, fuzz
from tests.fuzz.mutate import mutated

INPUTS = 200  # times a target's weight


@pytest.mark.parametrize("name", WEIGHTS)
def test_nothing_breaks(name: str) -> None:
    done = run(name, INPUTS * WEIGHTS[name], "0")
    assert done["crashes"] == {}
    assert done["inputs"] == INPUTS * WEIGHTS[name]
    assert done["blocks"] > 0


RECORD = Path(__file__).with_name("record.json")


@pytest.mark.skipif(not RECORD.exists(), reason="no long run has been recorded yet")
def test_the_record() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["inputs"] >= 1_000_000
    assert record["targets"].keys() == WEIGHTS.keys()
    assert [name for name, target in record["targets"].items() if target["crashes"]] == []


# ---- that it finds what there is


def target(run: Callable[[bytes], str]) -> Target:
    return Target("toy", True, lambda: [b"seed"], (b"x", b"y"), run)


def crashes(run: Callable[[bytes], str], inputs: int = 200) -> dict[str, str]:
    return fuzz(target(run), inputs, "0", (), lambda data: None)[0].crashes


def test_an_exception_is_a_crash() -> None:
    def breaks(data: bytes) -> str:
        return str(1 // (len(data) - 4))

    assert crashes(breaks).keys() == {"ZeroDivisionError at tests/fuzz/test_fuzz.py:breaks"}


def test_a_hang_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(data: bytes) -> str:
        while True:
            pass

    monkeypatch.setattr(loop, "HANG", 0.05)
    assert crashes(hangs, 1).keys() == {"Hang at tests/fuzz/test_fuzz.py:hangs"}


def test_what_is_said_leads_on() -> None:
    """One byte after the other is found, where any that is right is told."""

    def stairs(data: bytes) -> str:
        height = next((at for at, byte in enumerate(b"xyyxy") if data[at : at + 1] != bytes([byte])), 5)
        assert height < 5
        return "abcde"[height]

    assert crashes(stairs, 20_000)


def test_inputs_are_the_same_again() -> None:
    tried: list[list[bytes]] = [[], []]
    for inputs in tried:
        fuzz(target(lambda data: ""), 50, "0", (), inputs.append)
    assert tried[0] == tried[1]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("data", [b"", b"\0", b"one two\n" * 9])
def test_anything_can_be_mutated(data: bytes, text: bool) -> None:
    made = {mutated(random.Random(seed), data, [data, b"", b"three"], (b"four",), text) for seed in range(300)}
    assert len(made) > 30


def test_a_process_that_dies_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert [part["cpuinfo"]["crashes"] for part in recorded(10, ["cpuinfo"], "0")] == [{"the process died: ": ""}]
