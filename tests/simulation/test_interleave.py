"""Two processors: the exploration counts what slow and obvious enumeration counts, and finds what theory says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from math import comb, factorial

import pytest

from pvspec.simulation.guest import Guest, Site
from pvspec.simulation.interleave import STORES, SYNC, Exploration, Group, Rules, Tally, program, written
from pvspec.simulation.second_cpu import RIGHT, CpuState, SecondCpu
from pvspec.simulation.strategies import STRATEGIES, Primitives

from .conftest import built


def site_of(guest: Guest, op: str) -> Site:
    return next(site for site in guest.sites if site.op == op)


def tally(guest: Guest, strategy: str, op: str, rules: Rules) -> Tally:
    cpu = SecondCpu(guest, site_of(guest, op))
    return Exploration(cpu, program(guest, strategy, cpu.site, rules.stores), rules).tally()


# ---- against enumeration


def merges(writes: int, steps: int) -> Iterator[tuple[int, ...]]:
    """Every way to merge so many writes with so many steps: how many writes there are before each step."""
    for places in combinations(range(writes + steps), steps):
        yield tuple(place - number for number, place in enumerate(places))


def enumerated(cpu: SecondCpu, groups: Sequence[Group]) -> tuple[int, int]:
    """(broken, all), by running each schedule of at most 8 steps from its start and seeing which are the same."""
    schedules: dict[tuple[object, ...], bool] = {}
    for orders in orders_of(groups):
        codes = [cpu.site.original]
        for write in orders:
            codes.append(written(codes[-1], write))
        for before in merges(len(orders), 14):
            state, steps = cpu.start, 0
            for count in before:
                if state.end:
                    break
                state, steps = cpu.step(state, codes[count]).state, steps + 1
            assert state.end
            schedules[orders, before[:steps]] = state.end != RIGHT
    return sum(schedules.values()), len(schedules)


def orders_of(groups: Sequence[Group]) -> Iterator[tuple[tuple[int, bytes], ...]]:
    if not groups:
        yield ()
        return
    for first in permutations(groups[0]):
        for rest in orders_of(groups[1:]):
            yield first + rest


@pytest.mark.parametrize("backend", ["xen", "native"])
@pytest.mark.parametrize(
    ("strategy", "stores"), [("two-stage", "words"), ("marshalled", "words"), ("two-stage", "at once")]
)
@pytest.mark.parametrize("op", ["pgd_val", "irq_disable"])
def test_the_count_is_that_of_enumeration(backend: str, strategy: str, stores: str, op: str) -> None:
    guest = built(backend)
    cpu = SecondCpu(guest, site_of(guest, op))
    found = tally(guest, strategy, op, Rules(stores))
    assert (found.broken, found.total) == enumerated(cpu, program(guest, strategy, cpu.site, stores))


def test_in_any_order_too(xen: Guest) -> None:
    cpu = SecondCpu(xen, site_of(xen, "pgd_val"))
    groups: list[Group] = [((0, b"\xe8"), (1, b"\xce"), (3, b"\x00")), ((5, b"\x90"),)]
    found = Exploration(cpu, groups, Rules("any order")).tally()
    assert (found.broken, found.total) == enumerated(cpu, groups)


def test_stores_that_change_nothing(xen: Guest) -> None:
    """A kept site has 6 steps: two pushes, the call, the function, two pops."""
    assert tally(xen, "marshalled", "save_fl", Rules("bytes upward")) == Tally(comb(16, 6), 0, 77)
    found = tally(xen, "marshalled", "save_fl", Rules("any order"))
    assert (found.total, found.broken) == (factorial(10) * comb(16, 6), 0)


# ---- what theory says


@pytest.mark.parametrize("strategy", ["two-stage", "marshalled"])
@pytest.mark.parametrize("stores", ["bytes upward", "bytes downward", "any order"])
@pytest.mark.parametrize("op", ["pgd_val", "irq_disable"])
def test_bytes_by_themselves_break_a_site(xen: Guest, strategy: str, stores: str, op: str) -> None:
    found = tally(xen, strategy, op, Rules(stores))
    assert 0 < found.broken < found.total


def test_one_store_saves_one_instruction_alone(guest: Guest) -> None:
    """Nobody can be inside one instruction; of five, somebody can have run the first."""
    for site in guest.sites:
        found = tally(guest, "marshalled", site.op, Rules("at once"))
        single = guest.instructions(site) == 1 or guest.patched(site) == site.original
        assert (found.broken == 0) == single


def test_breakpoints_with_a_sync_that_waits_are_safe(guest: Guest) -> None:
    for site in guest.sites:
        for stores in STORES:
            assert tally(guest, "breakpoint", site.op, Rules(stores, split=True)).broken == 0


def test_a_sync_that_serialises_is_enough_for_one_instruction(guest: Guest) -> None:
    for site in guest.sites:
        single = guest.instructions(site) == 1 or guest.patched(site) == site.original
        stores = "any order" if single else "bytes upward"
        found = tally(guest, "breakpoint", site.op, Rules(stores, split=True, sync="serialise"))
        assert (found.broken == 0) == single


def test_without_sync_not_even_that(xen: Guest) -> None:
    """The first byte was fetched before the breakpoint, the others come when the tail is new."""
    assert tally(xen, "breakpoint", "pgd_val", Rules("any order", split=True, sync="none")).broken
    assert not tally(xen, "breakpoint", "pgd_val", Rules("any order", split=False, sync="none")).broken


# ---- strategies that are wrong on purpose


def first_byte_early(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
    for site in sites:
        code = guest.patched(site)
        for offset, part in (0, b"\xcc"), (0, code[:1]), (1, code[1:]):
            primitives.text_poke(site.addr + offset, part)
            primitives.sync()


def tail_before_breakpoint(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
    for site in sites:
        code = guest.patched(site)
        for offset, part in (1, code[1:]), (0, b"\xcc"), (0, code[:1]):
            primitives.text_poke(site.addr + offset, part)
            primitives.sync()


@pytest.mark.parametrize("strategy", [first_byte_early, tail_before_breakpoint])
def test_the_steps_of_a_breakpoint_in_another_order(
    xen: Guest, monkeypatch: pytest.MonkeyPatch, strategy: object
) -> None:
    monkeypatch.setitem(STRATEGIES, "odd", strategy)
    assert tally(xen, "odd", "pgd_val", Rules("bytes upward", split=True)).broken


# ---- the program and the witness


def test_the_programs(xen: Guest) -> None:
    site = site_of(xen, "pgd_val")
    code = xen.patched(site)
    each = [((offset, code[offset : offset + 1]),) for offset in range(6)]
    assert program(xen, "marshalled", site, "bytes upward") == each
    assert program(xen, "marshalled", site, "bytes downward") == each[::-1]
    assert program(xen, "two-stage", site, "bytes downward") == [*each[4::-1], each[5]]
    assert program(xen, "marshalled", site, "words") == [((0, code[:4]),), each[4], each[5]]
    assert program(xen, "marshalled", site, "at once") == [((0, code),)]
    tail = tuple(write for group in each[1:] for write in group)
    assert program(xen, "breakpoint", site, "any order") == [((0, b"\xcc"),), SYNC, tail, SYNC, each[0], SYNC]


@pytest.mark.parametrize("stores", STORES)
def test_a_counterexample_breaks(guest: Guest, stores: str) -> None:
    for site in guest.sites[:1] if stores == "any order" else guest.sites:
        cpu = SecondCpu(guest, site)
        rules = Rules(stores, split=True, sync="serialise")
        for strategy in "marshalled", "breakpoint":
            exploration = Exploration(cpu, program(guest, strategy, site, stores), rules)
            events = exploration.counterexample()
            assert bool(events) == bool(exploration.tally().broken)
            if not events:
                continue
            code, state = site.original, cpu.start
            for event in events:
                if event.kind == "write":
                    code = written(code, (event.address - site.addr, event.code))
                elif event.kind == "fetch":
                    state = cpu.fetch(state, code)
                elif event.kind == "run":
                    state = cpu.step(state, code).state
            assert state.end not in ("", RIGHT)
            assert code == guest.patched(site)


def test_states_are_one_object_each(xen: Guest) -> None:
    cpu = SecondCpu(xen, xen.sites[0])
    ends = {cpu.finish(cpu.start, xen.sites[0].original) for _ in range(3)}
    assert len(ends) == 1
    assert isinstance(ends.pop(), CpuState)
