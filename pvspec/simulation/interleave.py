"""All interleavings of the writes to a site with a second processor that runs it, explored and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import factorial
from typing import NamedTuple, TypeAlias

from pvspec.simulation.guest import Guest, Site
from pvspec.simulation.second_cpu import RIGHT, CpuState, SecondCpu
from pvspec.simulation.strategies import STRATEGIES

Write: TypeAlias = tuple[int, bytes]
"""One store: offset in the site, and bytes that appear at once."""

Group: TypeAlias = tuple[Write, ...]
"""Stores that may appear in any order; an empty one is a `sync`."""

SYNC: Group = ()


def _upward(offset: int, code: bytes) -> Iterator[Group]:
    for index in range(len(code)):
        yield ((offset + index, code[index : index + 1]),)


def _downward(offset: int, code: bytes) -> Iterator[Group]:
    yield from reversed(list(_upward(offset, code)))


def _any_order(offset: int, code: bytes) -> Iterator[Group]:
    yield tuple(write for group in _upward(offset, code) for write in group)


def _words(offset: int, code: bytes) -> Iterator[Group]:
    """rep movsl, then rep movsb, as the kernel's memcpy()."""
    words = len(code) & ~3
    for index in range(0, words, 4):
        yield ((offset + index, code[index : index + 4]),)
    yield from _upward(offset + words, code[words:])


def _at_once(offset: int, code: bytes) -> Iterator[Group]:
    yield ((offset, code),)


STORES: dict[str, Callable[[int, bytes], Iterator[Group]]] = {
    "bytes upward": _upward,
    "bytes downward": _downward,
    "any order": _any_order,
    "words": _words,
    "at once": _at_once,
}


class Rules(NamedTuple):
    """What is assumed: how the bytes of a write appear (STORES), and what the second processor and `sync` do.

    `split`: it may fetch an instruction's first byte before the others. `sync`: `none` (does nothing), `serialise`
    (waits until no instruction is half fetched), `wait` (also until the processor has left the site).
    """

    stores: str
    split: bool = False
    sync: str = "wait"


@dataclass(frozen=True)
class Tally:
    """How many interleavings there are, and in how many of them the site was not run correctly."""

    total: int
    broken: int
    states: int


class Event(NamedTuple):
    """A step in an interleaving: `write` (at this address), `sync`, `fetch` of one byte, or `run` of an instruction.

    A `run` without code is that of the function that the site calls.
    """

    kind: str
    address: int
    code: bytes
    end: str = ""


def program(guest: Guest, strategy: str, site: Site, stores: str) -> list[Group]:
    """The groups of stores that a strategy makes to patch one site."""
    recorder = _Recorder(site, STORES[stores])
    STRATEGIES[strategy](guest, (site,), recorder)
    return recorder.groups


class _Recorder:
    """Records the stores of a strategy."""

    def __init__(self, site: Site, stores: Callable[[int, bytes], Iterator[Group]]) -> None:
        self.groups: list[Group] = []
        self._site, self._stores = site, stores

    def in_place(self, address: int, code: bytes) -> None:
        self.groups += self._stores(address - self._site.addr, code)

    def text_poke(self, address: int, code: bytes) -> None:
        self.in_place(address, code)

    def sync(self) -> None:
        self.groups.append(SYNC)

    def stack(self, size: int) -> bytes:
        return bytes(size)


class Exploration:
    """The graph of all interleavings of a program with a processor, under some rules."""

    def __init__(self, cpu: SecondCpu, groups: Sequence[Group], rules: Rules) -> None:
        self._cpu, self._groups, self._rules = cpu, groups, rules
        self._counts: dict[_State, tuple[int, int]] = {}
        self._codes: dict[tuple[int, int], bytes] = {(0, 0): cpu.site.original}

    def tally(self) -> Tally:
        """Count the interleavings."""
        broken, total = self._count(self._start)
        return Tally(total, broken, len(self._counts))

    def counterexample(self) -> list[Event]:
        """An interleaving that breaks, with as few steps on the new code as possible; empty if none does."""
        state, events = self._start, list[Event]()
        while self._count(state)[0]:
            after = next((after for after in self._successors(state) if self._count(after)[0]), None)
            if after is None:
                break
            events.append(self._event(state, after))
            state = after
        return events

    @property
    def _start(self) -> _State:
        return _State(0, 0, self._cpu.start)

    def _count(self, state: _State) -> tuple[int, int]:
        """(broken, all) interleavings from a state on."""
        counts = self._counts.get(state)
        if counts is None:
            counts = self._counts[state] = self._counted(state)
        return counts

    def _counted(self, state: _State) -> tuple[int, int]:
        if state.cpu.end:
            total = self._orders(state)
            return (0 if state.cpu.end == RIGHT else total), total
        broken = total = 0
        for after in self._successors(state):
            some, all = self._count(after)
            broken, total = broken + some, total + all
        return broken, total

    def _orders(self, state: _State) -> int:
        """The number of orders in which the remaining stores can appear."""
        number = 1
        for index, group in enumerate(self._groups[state.group :]):
            number *= factorial(len(group) - (state.done.bit_count() if index == 0 else 0))
        return number

    def _successors(self, state: _State) -> Iterator[_State]:
        yield from self._writes(state)
        cpu = state.cpu
        if cpu.end:
            return
        code = self._code(state.group, state.done)
        if self._rules.split and cpu.fetched is None and self._cpu.in_site(cpu):
            yield _State(state.group, state.done, self._cpu.fetch(cpu, code))
        else:
            yield _State(state.group, state.done, self._cpu.step(cpu, code).state)

    def _writes(self, state: _State) -> Iterator[_State]:
        if state.group == len(self._groups):
            return
        group = self._groups[state.group]
        if group == SYNC and not self._syncs(state.cpu):
            return
        whole = (1 << len(group)) - 1
        for done in [state.done | 1 << number for number in range(len(group)) if not state.done >> number & 1] or [0]:
            yield _State(state.group + 1, 0, state.cpu) if done == whole else _State(state.group, done, state.cpu)

    def _event(self, before: _State, after: _State) -> Event:
        """The event that leads from one state to the next."""
        cpu = before.cpu
        if after.cpu is cpu:
            group = self._groups[before.group]
            done = after.done if after.group == before.group else (1 << len(group)) - 1
            for number, (offset, code) in enumerate(group):
                if (done ^ before.done) >> number & 1:
                    return Event("write", self._cpu.site.addr + offset, code)
            return Event("sync", self._cpu.site.addr, b"")
        code = self._code(before.group, before.done)
        if after.cpu.fetched is not None:
            return Event("fetch", cpu.address, bytes((after.cpu.fetched,)))
        executed = self._cpu.step(cpu, code).executed
        return Event("run", cpu.address, executed.code if executed else b"", after.cpu.end)

    def _syncs(self, cpu: CpuState) -> bool:
        """Whether a `sync` completes while the processor is in this state."""
        if self._rules.sync == "none":
            return True
        return cpu.fetched is None and not (self._rules.sync == "wait" and self._cpu.inside(cpu))

    def _code(self, group: int, done: int) -> bytes:
        """The site's code when so many groups, and these stores of the next group, have appeared."""
        key = group, done
        if key not in self._codes:
            number = done.bit_length() - 1
            if number < 0:  # all of the previous group has appeared
                self._codes[key] = self._code(group - 1, (1 << len(self._groups[group - 1])) - 1)
            else:
                before = self._code(group, done ^ 1 << number)
                self._codes[key] = written(before, self._groups[group][number])
        return self._codes[key]


def written(code: bytes, write: Write) -> bytes:
    """A site's code after a store has appeared."""
    offset, data = write
    return code[:offset] + data + code[offset + len(data) :]


class _State(NamedTuple):
    """Groups that have appeared, a mask of the stores of the next group, and the processor's state."""

    group: int
    done: int
    cpu: CpuState
