"""One processor: the bug is there in the old strategies, in every order, and gone in the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import factorial

import pytest

from pvspec.simulation import replay as replaying
from pvspec.simulation.guest import Guest, Site
from pvspec.simulation.replay import Replay, replay, replays
from pvspec.simulation.strategies import STRATEGIES, Primitives
from pvspec.x86.decode import disassemble

from .conftest import built


def torn_texts(result: Replay) -> list[str]:
    step = result.steps[-1]
    ran = [step.trace[index] for index in step.torn]
    return [disassemble(executed.code, 32, executed.address)[0].text for executed in ran]


def kept(guest: Guest) -> list[Site]:
    return [site for site in guest.sites if guest.patched(site) == site.original]


@pytest.mark.parametrize("backend", ["xen", "lguest"])
def test_the_chain_of_the_commit_message(backend: str) -> None:
    """text_poke -> lookup_address -> pgd_val: the call is in place, the byte behind it is still the old one's last."""
    guest = built(backend)
    result = replay(guest, "two-stage", guest.sites)
    assert [(step.stage, step.site.op, step.code.hex()) for step in result.steps] == [
        ("in place", "pgd_val", "e8ce000000"),
        ("poke", "pgd_val", "90"),
    ]
    assert torn_texts(result) == ["call 0xc01000e0", "rol byte ptr [ebp + 0x251574c0], 0"]
    last = result.steps[-1].trace[-1]
    assert (guest.name(last.address), last.code[:1]) == ("lookup_address+0x12", b"\xc0")
    assert result.fault is not None
    assert result.fault.fault == "page fault at 0x251574c1", "ebp is the poke's length, 1"
    assert result.wrong


def test_two_stage_breaks_in_every_order(guest: Guest) -> None:
    results = list(replays(guest, "two-stage"))
    assert len({result.order for result in results}) == factorial(len(guest.sites))
    assert all(result.torn and result.fault for result in results)
    assert all(result.wrong for result in results)


@pytest.mark.parametrize("strategy", ["marshalled", "breakpoint"])
def test_what_survives_every_order(guest: Guest, strategy: str) -> None:
    for result in replays(guest, strategy):
        assert result.survived
        assert (result.fault, result.torn, result.wrong) == (None, False, ())
        pokes = [(step.address, step.code) for step in result.steps]
        if strategy == "marshalled":
            assert pokes == [(site.addr, guest.patched(site)) for site in result.order]
        else:
            assert len(pokes) == 3 * len(guest.sites)
            assert sum(step.traps for step in result.steps) == 2 * len(guest.sites), "on text_poke's own way"


def test_an_unfilled_buffer_harms_what_is_kept(guest: Guest) -> None:
    for result in replays(guest, "unfilled"):
        assert result.survived == (not kept(guest))
        ruined = [step for step in result.steps if step.site in kept(guest)]
        assert all(step.code != step.site.original for step in ruined)
        assert bool(result.wrong) == bool(kept(guest))


def test_an_unfilled_buffer_holds_what_calls_left() -> None:
    """Under VMI pgd_val stays; what is poked over it is the stack of a call before, and the next poke runs it."""
    guest = built("vmi")
    result = replay(guest, "unfilled", guest.sites)
    first = result.steps[0]
    assert (first.site.op, first.code != first.site.original) == ("pgd_val", True)
    assert result.steps[1].torn
    assert result.fault is not None


# ---- strategies that are wrong on purpose


def replayed(guest: Guest, monkeypatch: pytest.MonkeyPatch, strategy: object) -> Replay:
    monkeypatch.setitem(STRATEGIES, "odd", strategy)
    return replay(guest, "odd", guest.sites)


def test_a_filled_buffer_is_all_that_was_missing(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def filled(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
        for site in sites:
            primitives.text_poke(site.addr, guest.patched(site))

    assert replayed(guest, monkeypatch, filled).survived


def test_a_wrong_byte_is_found(xen: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
        site = sites[-1]
        primitives.text_poke(site.addr, guest.patched(site)[:-1] + b"\x90")

    result = replayed(xen, monkeypatch, wrong)
    assert (result.survived, result.fault, result.torn) == (False, None, False)
    assert [site.op for site in result.wrong] == ["pgd_val", "irq_disable", "restore_fl"]


def test_breakpoints_without_a_handler_stop_the_machine(xen: Guest) -> None:
    result = replay(replace(xen, detours={}), "breakpoint", xen.sites)
    assert result.fault is not None
    assert result.fault.fault == "breakpoint"
    assert len(result.steps) == 2, "the second poke runs into what the first has written"


def test_a_poke_that_does_not_return(xen: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
        for _ in range(2):
            primitives.text_poke(sites[0].addr, b"\xeb\xfe")

    monkeypatch.setattr(replaying, "_MAX_INSTRUCTIONS", 300)
    result = replayed(xen, monkeypatch, hang)
    assert result.fault is not None
    assert result.fault.fault == "no return after 300 instructions"
    assert result.torn
