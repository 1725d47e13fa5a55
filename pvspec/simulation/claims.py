"""A simulation: each strategy on one processor and with a second one, and what that must show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pvspec.simulation.guest import Guest, Site
from pvspec.simulation.interleave import STORES, Event, Exploration, Rules, Tally, program
from pvspec.simulation.replay import Replay, replays
from pvspec.simulation.second_cpu import SecondCpu

_POKES = tuple(Rules(stores) for stores in STORES)
RULES: dict[str, tuple[Rules, ...]] = {
    "two-stage": _POKES,
    "unfilled": (),  # the contents of the stack differ each time
    "marshalled": _POKES,
    "breakpoint": tuple(Rules("any order", split=True, sync=sync) for sync in ("none", "serialise", "wait")),
}
"""Assumptions about the second processor, by strategy: the best case for the first ones, the worst for the last one."""


@dataclass(frozen=True)
class Row:
    """The interleavings of one strategy under some rules: for each site, their number, and one that breaks."""

    strategy: str
    rules: Rules
    tallies: Mapping[Site, Tally]
    counterexamples: Mapping[Site, Sequence[Event]]


@dataclass(frozen=True)
class Claim:
    """What the simulation must show, and whether it did."""

    text: str
    held: bool


@dataclass(frozen=True, repr=False)
class Simulation:
    """The results: by strategy, the replays of each order of the sites; the interleavings; and the claims."""

    guest: Guest
    replays: Mapping[str, tuple[Replay, ...]]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]

    def __repr__(self) -> str:
        held = sum(claim.held for claim in self.claims)
        claims = f"{held} of {len(self.claims)} claims held"
        return f"Simulation({self.guest.backend}, {len(self.replays)} strategies, {claims})"

    def lines(self) -> Iterator[str]:
        """What it showed, as lines of text."""
        from pvspec.simulation.report import lines

        return lines(self)

    def as_json(self) -> dict[str, object]:
        """What it showed, as JSON data; see docs/commands.md."""
        from pvspec.simulation.report import as_json

        return as_json(self)

    def picture(self) -> str:
        """The text of an SVG: each moment of a patch against a second processor."""
        from pvspec.simulation.picture import picture

        return picture(self.guest, list(self.replays))


def simulate_guest(guest: Guest, strategies: Sequence[str]) -> Simulation:
    """Run strategies on a guest: every order of the sites, then every interleaving at each site."""
    found = {strategy: tuple(replays(guest, strategy)) for strategy in strategies}
    cpus = [SecondCpu(guest, site) for site in guest.sites]
    rows = tuple(_row(guest, strategy, rules, cpus) for strategy in strategies for rules in RULES[strategy])
    return Simulation(guest, found, rows, tuple(_claims(guest, found, rows)))


def changed(guest: Guest) -> list[Site]:
    """The sites that patching changes."""
    return [site for site in guest.sites if guest.patched(site) != site.original]


def _row(guest: Guest, strategy: str, rules: Rules, cpus: Sequence[SecondCpu]) -> Row:
    tallies, counterexamples = {}, {}
    for cpu in cpus:
        exploration = Exploration(cpu, program(guest, strategy, cpu.site, rules.stores), rules)
        tallies[cpu.site], counterexamples[cpu.site] = exploration.tally(), exploration.counterexample()
    return Row(strategy, rules, tallies, counterexamples)


def _claims(guest: Guest, found: Mapping[str, Sequence[Replay]], rows: Sequence[Row]) -> Iterator[Claim]:
    for strategy, all in found.items():
        survived = sum(replay.survived for replay in all)
        if _breaks(guest, strategy):
            yield Claim(f"{strategy}: breaks the processor that patches, in every order of the sites", survived == 0)
        else:
            yield Claim(f"{strategy}: every order of the sites ends with all of them right", survived == len(all))
    for row in rows:
        yield from _row_claims(guest, row)


def _breaks(guest: Guest, strategy: str) -> bool:
    """Whether a strategy must fail on one processor: an unfilled buffer only harms sites that are left unchanged."""
    return strategy == "two-stage" or (strategy == "unfilled" and len(changed(guest)) < len(guest.sites))


def _row_claims(guest: Guest, row: Row) -> Iterator[Claim]:
    broken = {site: row.tallies[site].broken > 0 for site in changed(guest)}
    if row.strategy != "breakpoint" and row.rules.stores.startswith(("bytes", "any")):
        yield Claim(f"{row.strategy}, {row.rules.stores}: breaks a second processor at each site", all(broken.values()))
    elif row.strategy == "breakpoint" and row.rules.sync == "wait":
        safe = not any(tally.broken for tally in row.tallies.values())
        yield Claim("breakpoint, with a sync that waits: safe under all interleavings", safe)
    elif row.strategy == "breakpoint" and row.rules.sync == "serialise":
        single = [tally for site, tally in row.tallies.items() if guest.instructions(site) == 1]
        safe = not any(tally.broken for tally in single)
        yield Claim("breakpoint, with a sync that serialises: safe where the site is one instruction", safe)
