"""A simulation as lines of text, and as JSON data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pvspec.simulation.claims import Row, Simulation, changed
from pvspec.simulation.guest import Guest, Site
from pvspec.simulation.interleave import Event, Rules, Tally
from pvspec.simulation.replay import Replay, Step
from pvspec.x86.decode import disassemble
from pvspec.x86.emulator.machine import Executed

_FIRST, _LAST = 10, 3  # instructions shown of a long trace
_SYNC = {"none": "no sync", "serialise": "sync serialises", "wait": "sync waits"}


def lines(simulation: Simulation) -> Iterator[str]:
    """What the simulation showed."""
    guest = simulation.guest
    yield f"{guest.backend}: the sites on text_poke's own path to memory, and what they become"
    for site in guest.sites:
        after = guest.patched(site).hex(" ") if site in changed(guest) else "unchanged"
        yield f"  {site.op:<12} {guest.name(site.addr):<20} {site.original.hex(' '):<29}  {after}"
    yield ""
    yield "one processor, which runs what it patches"
    for strategy, all in simulation.replays.items():
        yield from _replay(guest, strategy, all)
    if simulation.rows:
        yield from _interleavings(simulation)


def as_json(simulation: Simulation) -> dict[str, object]:
    """The same as data; see docs/commands.md."""
    guest = simulation.guest
    return {
        "backend": guest.backend,
        "sites": [_site_json(guest, site) for site in guest.sites],
        "replays": [_replays_json(guest, strategy, all) for strategy, all in simulation.replays.items()],
        "interleavings": [_tally_json(row, site) for row in simulation.rows for site in guest.sites],
        "claims": [{"claim": claim.text, "held": claim.held} for claim in simulation.claims],
    }


# ---- one processor


def _replay(guest: Guest, strategy: str, all: Sequence[Replay]) -> Iterator[str]:
    survived = sum(replay.survived for replay in all)
    orders = f"{survived} of {len(all)} orders of the sites end well"
    first = all[0]
    if first.survived:
        pokes = sum(step.stage == "poke" for step in first.steps)
        traps = sum(step.traps for step in first.steps)
        met = f", {traps} breakpoints met on the way" if traps else ""
        yield f"  {strategy}: {orders}: {pokes} pokes{met}"
        return
    yield f"  {strategy}: {orders}; this one:"
    for number, step in enumerate(first.steps, 1):
        yield from _step(guest, number, step)
    if first.wrong and not first.fault:
        yield f"    wrong at the end: {', '.join(site.op for site in first.wrong)}"


def _step(guest: Guest, number: int, step: Step) -> Iterator[str]:
    yield f"    {number}. {step.stage:<8} {guest.name(step.address):<20} {step.code.hex(' ')}"
    if step.torn:
        yield from _torn(guest, step)
    if step.fault:
        yield f"       {step.fault.fault}, at {guest.name(step.fault.address)}"


def _torn(guest: Guest, step: Step) -> Iterator[str]:
    """What ran from the first torn instruction on, without the middle."""
    ran = list(enumerate(step.trace))[step.torn[0] :]
    left_out = range(_FIRST, len(ran) - _LAST)
    for number, (index, executed) in enumerate(ran):
        if number not in left_out:
            mark = "  <- the site is neither old nor new" if index in step.torn else ""
            yield f"       {_instruction(guest, executed)}{mark}"
        elif number == _FIRST:
            yield f"       … {len(left_out)} more"


def _instruction(guest: Guest, executed: Executed) -> str:
    return f"{guest.name(executed.address):<20} {executed.code.hex(' '):<24} {_text(executed)}"


def _text(executed: Executed) -> str:
    read = disassemble(executed.code, 32, executed.address)
    return read[0].text if read else "?"


# ---- two processors


def _interleavings(simulation: Simulation) -> Iterator[str]:
    sites = changed(simulation.guest)
    yield ""
    yield "a second processor, which runs the site meanwhile: interleavings that break it, of all"
    yield f"  {'':<37}" + "".join(f"{site.op:>15}" for site in sites)
    for row in simulation.rows:
        cells = "".join(f"{_cell(row.tallies[site]):>15}" for site in sites)
        yield f"  {row.strategy:<11} {_rules(row.rules):<25}{cells}"
    states = sum(tally.states for row in simulation.rows for tally in row.tallies.values())
    yield f"  {states} states explored"
    yield from _counterexample(simulation)


def _rules(rules: Rules) -> str:
    return _SYNC[rules.sync] if rules.split else rules.stores


def _cell(tally: Tally) -> str:
    if not tally.broken:
        return "safe"
    if tally.total < 100_000:
        return f"{tally.broken} / {tally.total}"
    return f"{tally.broken / tally.total:.2%}"


def _counterexample(simulation: Simulation) -> Iterator[str]:
    """One interleaving that breaks a marshalled poke."""
    rows = [row for row in simulation.rows if row.strategy == "marshalled"]
    found = ((row, site) for row in rows for site in changed(simulation.guest) if row.counterexamples[site])
    row, site = next(found, (None, None))
    if row is None or site is None:
        return
    yield ""
    yield f"{row.strategy}, {row.rules.stores}, {site.op}: for example"
    for event in row.counterexamples[site]:
        yield from _event(simulation.guest, event)
        if event.end:
            return


def _event(guest: Guest, event: Event) -> Iterator[str]:
    place = f"{guest.name(event.address):<20} {event.code.hex(' '):<24}"
    if event.kind != "run":
        yield f"  {event.kind:<6} {place.rstrip()}"
        return
    text = _text(Executed(event.address, event.code)) if event.code else "to its end"
    yield f"  run    {place} {text}"
    if event.end:
        yield f"         {event.end}"


# ---- JSON


def _site_json(guest: Guest, site: Site) -> dict[str, object]:
    record = {"op": site.op, "address": site.addr, "place": guest.name(site.addr), "clobber": site.clobber}
    return {**record, "before": site.original.hex(), "after": guest.patched(site).hex()}


def _replays_json(guest: Guest, strategy: str, all: Sequence[Replay]) -> dict[str, object]:
    return {
        "strategy": strategy,
        "orders": len(all),
        "survived": sum(replay.survived for replay in all),
        "crashed": sum(replay.fault is not None for replay in all),
        "ran_torn": sum(replay.torn for replay in all),
        "ended_wrong": sum(bool(replay.wrong) for replay in all),
        "steps": [_step_json(guest, step) for step in all[0].steps],
    }


def _step_json(guest: Guest, step: Step) -> dict[str, object]:
    ran = [
        {
            "address": executed.address,
            "place": guest.name(executed.address),
            "code": executed.code.hex(),
            "instruction": _text(executed),
            "torn": index in step.torn,
        }
        for index, executed in enumerate(step.trace if step.torn or step.fault else ())
    ]
    write = {"stage": step.stage, "op": step.site.op, "address": step.address, "code": step.code.hex()}
    return {**write, "ran": ran, "traps": step.traps, "fault": step.fault.fault if step.fault else None}


def _tally_json(row: Row, site: Site) -> dict[str, object]:
    tally, rules = row.tallies[site], row.rules
    assumed = {"stores": rules.stores, "split_fetch": rules.split, "sync": rules.sync if rules.split else None}
    count = {"total": tally.total, "broken": tally.broken, "states": tally.states}
    return {"strategy": row.strategy, **assumed, "op": site.op, **count}
