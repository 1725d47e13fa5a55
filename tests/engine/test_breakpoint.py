"""The three steps of a poke that others may run through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.engine.breakpoint import breakpoint_steps
from pvspec.engine.errors import PatchError
from pvspec.engine.records import PatchSite
from tests.engine.samples import make_kernel, make_table

SITES = [PatchSite(0x1000, 1, 3, 0), PatchSite(0x1008, 2, 2, 0), PatchSite(0x100C, 1, 1, 0)]
OLD = bytes(range(16))
NEW = bytearray(OLD)
NEW[0:3], NEW[8:10], NEW[12:13] = bytes.fromhex("fa 66 90"), bytes.fromhex("9c 58"), b"\xfa"


@given(st.binary(max_size=20), st.binary(min_size=20, max_size=20))
def test_the_first_byte_is_a_breakpoint_until_all_others_are_new(code: bytes, old: bytes) -> None:
    text = bytearray(old)
    for address, part in breakpoint_steps(0, code):
        text[address : address + len(part)] = part
        assert text[0] == 0xCC or text[1 : len(code)] == code[1:]
        assert text[0] in (0xCC, *code[:1])
    assert text == code + old[len(code) :]


def test_each_step_is_followed_by_sync() -> None:
    events: list[Any] = []

    def poke(address: int, code: bytes) -> None:
        events.append((hex(address), code.hex()))

    count = make_kernel().apply(
        make_table(SITES), OLD, 0x1000, poke=poke, strategy="breakpoint", sync=lambda: events.append("sync")
    )
    assert count == 3
    steps = [("0x1000", "cc"), ("0x1001", "6690"), ("0x1000", "fa")]
    steps += [("0x1008", "cc"), ("0x1009", "58"), ("0x1008", "9c"), ("0x100c", "cc"), ("0x100c", "fa")]
    assert events == [event for step in steps for event in (step, "sync")]


@pytest.mark.parametrize("strategy", ["marshalled", "breakpoint"])
@pytest.mark.parametrize("passes", [False, True], ids=["apply", "apply_passes"])
def test_both_strategies_end_alike(strategy: str, passes: bool) -> None:
    text, syncs = bytearray(OLD), list[bytes]()

    def sync() -> None:
        syncs.append(bytes(text))

    kernel, table = make_kernel(), make_table(SITES)
    if passes:
        kernel.apply_passes({"pv": (table, 0)}, text, 0x1000, strategy=strategy, sync=sync)
    else:
        kernel.apply(table, text, 0x1000, strategy=strategy, sync=sync)
    assert text == NEW
    assert len(syncs) == {"marshalled": 3, "breakpoint": 8}[strategy]
    assert any(0xCC in seen for seen in syncs) == (strategy == "breakpoint")


def test_an_unknown_strategy() -> None:
    text = bytearray(OLD)
    with pytest.raises(PatchError) as error:
        make_kernel().apply(make_table(SITES), text, 0x1000, strategy="two-stage")
    assert str(error.value) == "there is no strategy 'two-stage'; there are: marshalled, breakpoint"
    assert text == OLD
