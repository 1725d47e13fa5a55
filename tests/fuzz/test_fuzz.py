"""Each target for a while, with inputs that are always the same; longer with `python -m tests.fuzz`."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import coverage
from tests.fuzz.__main__ import RECORD, portion, recorded, shown, updated
from tests.fuzz.cell import expected, outcomes
from tests.fuzz.hostile import LARGEST, Hostile
from tests.fuzz.loop import Target, fuzz, shortened
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS
from tests.fuzz.weights import WEIGHTS

INPUTS = 5  # times a target's weight
SLOW = 40  # inputs of a target at least


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", WEIGHTS)
def test_nothing_breaks(name: str, together: Path) -> None:
    done = portion(name, max(INPUTS * WEIGHTS[name], SLOW), "0", together)
    assert done["crashes"] == {}
    assert done["inputs"] == max(INPUTS * WEIGHTS[name], SLOW)
    assert done["blocks"] > 0


@pytest.mark.skipif(not RECORD.exists(), reason="no long run has been recorded yet")
def test_the_record() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["inputs"] >= 2_000_000
    assert record["targets"].keys() == WEIGHTS.keys()
    assert [name for name, target in record["targets"].items() if target["crashes"]] == []


def test_each_target_has_a_weight() -> None:
    assert TARGETS.keys() == WEIGHTS.keys()


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.made])
def test_what_is_made_is_the_same_again(name: str) -> None:
    made = TARGETS[name].made
    assert made
    first, again = ([made(Hostile(random.Random(seed))) for seed in range(40)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 3


# ---- that it finds what there is


def target(run: Callable[[bytes], str], seconds: float = 3.0) -> Target:
    return Target("toy", True, lambda: [b"seed"], (b"x", b"y"), run, seconds=seconds)


def crashes(run: Callable[[bytes], str], inputs: int = 200, seconds: float = 3.0) -> dict[str, bytes]:
    return fuzz(target(run, seconds), inputs, "0")[0].crashes


def test_an_exception_is_a_crash() -> None:
    def breaks(data: bytes) -> str:
        return str(1 // (len(data) - 4))

    assert crashes(breaks).keys() == {"ZeroDivisionError at tests/fuzz/test_fuzz.py:breaks"}


def test_a_hang_is_a_crash() -> None:
    def hangs(data: bytes) -> str:
        while data != b"seed":
            pass
        return ""

    assert crashes(hangs, 2, 0.05).keys() == {"Hang at tests/fuzz/test_fuzz.py:hangs"}


def test_a_hang_that_nothing_interrupts_is_a_crash() -> None:
    def hangs(data: bytes) -> str:
        return str(sum(range(10**12)))

    assert [outcome.crash for outcome in outcomes(hangs, [b""], 0.05, 0)] == ["the process died: SIGXCPU"]


def test_who_waits_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.cell.PATIENCE", 1)
    os.mkfifo(tmp_path / "fifo")

    def waits(data: bytes) -> str:
        return (tmp_path / "fifo").read_text() if data != b"seed" else ""

    assert [outcome.crash for outcome in outcomes(waits, [b""], 1.0, 0)] == ["the process waits for something"]


def test_much_memory_is_a_crash() -> None:
    def takes(data: bytes) -> str:
        return str(len(b"x" * (1 << 30))) if data != b"seed" else ""

    assert crashes(takes, 2).keys() == {"more than 1 GiB of memory"}


def test_memory_that_there_is_not_is_a_crash() -> None:
    """Also where a reader takes it for a damaged file."""

    def takes(data: bytes) -> str:
        try:
            return str(len(bytes(1 << 40)))
        except MemoryError as error:
            damaged = ValueError("damaged")
            damaged.__context__ = error
            return expected(damaged)

    assert crashes(takes, 2).keys() == {"AssertionError at tests/fuzz/test_fuzz.py:takes"}


def test_a_death_is_a_crash_and_the_others_go_on() -> None:
    def dies(data: bytes) -> str:
        if data == b"bad":
            os.abort()
        return data.decode()

    found = outcomes(dies, [b"one", b"bad", b"two"], 1.0, 0)
    assert [outcome.said for outcome in found] == ["one", "", "two"]
    assert [outcome.crash for outcome in found] == ["", "the process died: SIGABRT", ""]


def test_what_is_found_is_shortened() -> None:
    def breaks(data: bytes) -> str:
        assert b"!" not in data
        return ""

    crash = "AssertionError at tests/fuzz/test_fuzz.py:breaks"
    assert shortened(target(breaks), crash, b"a" * 1000 + b"!" + b"b" * 1000) == b"!"


def test_what_is_said_leads_on() -> None:
    """One byte after the other is found, where any that is right is told."""

    def stairs(data: bytes) -> str:
        height = next((at for at, byte in enumerate(b"xyyxy") if data[at : at + 1] != bytes([byte])), 5)
        assert height < 5
        return "abcde"[height]

    assert crashes(stairs, 6000)


def test_inputs_are_the_same_again() -> None:
    results = [fuzz(target(lambda data: data.hex()), 300, "0") for _ in range(2)]
    assert results[0][1] == results[1][1] != []


def test_blocks_are_reported() -> None:
    def reaches(data: bytes) -> str:
        coverage.SEEN[5] = 1
        return ""

    assert outcomes(reaches, [b""], 1.0, 0)[0].blocks == 1 << 40
    assert outcomes(reaches, [b""], 1.0, 1 << 40)[0].blocks == 0


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("data", [b"", b"\0", b"one two\n" * 9])
def test_anything_can_be_mutated(data: bytes, text: bool) -> None:
    made = {mutated(random.Random(seed), data, [data, b"", b"three"], (b"four",), text) for seed in range(300)}
    assert len(made) > 30


@pytest.mark.parametrize("bits", [8, 32, 64])
def test_fields_fit(bits: int) -> None:
    h = Hostile(random.Random(0))
    h.rate = 1.0
    values = {h.number(5, bits) for _ in range(300)}
    assert len(values) > 20
    assert 0 <= min(values) <= max(values) < 1 << bits
    assert all(len(h.decimal(5, 12, octal=True)) == 12 for _ in range(300))


def test_a_process_that_dies_is_a_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert portion("cpuinfo", 10, "0", tmp_path)["crashes"] == {"the fuzzer died: ": ""}


# ---- the record


def test_a_record_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it has is not done again; figures add up, or the largest counts."""
    asked: list[tuple[str, int, str]] = []

    def done(name: str, inputs: int, seed: str, folder: Path, until: float) -> dict[str, object]:
        asked.append((name, inputs, seed))
        found = {"x": "x.input"} if name == "ar" else {}
        costs = {"seconds": 1.0, "blocks": 5, "kept": 1, "slowest": 0.5, "largest": inputs, "of": 9}
        return {"inputs": inputs, **costs, "crashes": found}

    monkeypatch.setattr("tests.fuzz.__main__.portion", done)
    monkeypatch.setattr("tests.fuzz.__main__.PORTION", 40)
    record: dict[str, object] = {"inputs": 0, "targets": {}}
    for total in (100, 200):
        for name, result in list(recorded(total, ["ar", "tar"], "s", record, tmp_path)):
            record = updated(record, name, result)
    assert [part for part in asked if part[0] == "ar"] == [
        ("ar", 40, "s.0"), ("ar", 10, "s.40"), ("ar", 40, "s.50"), ("ar", 10, "s.90")
    ]  # fmt: skip
    assert record["inputs"] == 200
    assert record["targets"]["ar"]["kept"] == 4  # type: ignore[index]
    assert record["targets"]["ar"]["largest"] == 40  # type: ignore[index]
    assert record["targets"]["ar"]["crashes"] == {"x": "x.input"}  # type: ignore[index]
    assert "ar                               100           5           4         0.5           0           1" in shown(
        record
    )


def test_inputs_are_not_endless() -> None:
    for name, target in TARGETS.items():
        if target.made:
            for seed in range(5):
                assert len(target.made(Hostile(random.Random(f"{name}{seed}")))) < 8 * LARGEST
