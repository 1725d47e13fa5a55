"""Each moment of a patch against each state of a second processor: what happens if the next store is late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pvspec.simulation.guest import Guest, Site
from pvspec.simulation.interleave import SYNC, Group, program, written
from pvspec.simulation.second_cpu import CpuState, SecondCpu
from pvspec.x86.decode import disassemble

WAITS = "waits"
"""The moment cannot occur while the processor is there: a `sync` waits until it has left."""


class Moment(NamedTuple):
    """A store has appeared: `code` is what it wrote, empty before the first; `synced` if a `sync` came before it."""

    code: bytes
    synced: bool


class Lane(NamedTuple):
    """A state of the second processor, shown as what it runs next, and its outcome at each moment.

    The outcomes are those of `CpuState.end`, and WAITS.
    """

    next: str
    outcomes: tuple[str, ...]


class Timeline(NamedTuple):
    """One site, one strategy, the bytes of each write one by one upward."""

    strategy: str
    site: Site
    moments: tuple[Moment, ...]
    lanes: tuple[Lane, ...]


def timeline(guest: Guest, strategy: str, cpu: SecondCpu) -> Timeline:
    """The moments of a strategy at the processor's site, against all states while it runs the original code."""
    groups = program(guest, strategy, cpu.site, "bytes upward")
    lanes = (Lane(_next(guest, cpu, state), tuple(_outcomes(cpu, state, groups))) for state in _states(cpu))
    return Timeline(strategy, cpu.site, tuple(_moments(groups)), tuple(lanes))


def _moments(groups: Sequence[Group]) -> Iterator[Moment]:
    yield Moment(b"", False)
    synced = False
    for group in groups:
        if group == SYNC:
            synced = True
        else:
            yield Moment(group[0][1], synced)
            synced = False


def _states(cpu: SecondCpu) -> Iterator[CpuState]:
    state = cpu.start
    while not state.end:
        yield state
        state = cpu.step(state, cpu.site.original).state


def _next(guest: Guest, cpu: SecondCpu, state: CpuState) -> str:
    if not cpu.in_site(state):
        return f"in {guest.name(state.address).partition('+')[0]}"
    offset = state.address - cpu.site.addr
    return disassemble(cpu.site.original[offset:], 32, state.address)[0].text


def _outcomes(cpu: SecondCpu, state: CpuState, groups: Sequence[Group]) -> Iterator[str]:
    code, waits = cpu.site.original, False
    yield cpu.finish(state, code).end
    for group in groups:
        if group == SYNC:
            waits = waits or cpu.inside(state)
        else:
            code = written(code, group[0])
            yield WAITS if waits else cpu.finish(state, code).end
