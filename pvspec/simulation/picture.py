"""The timelines as one picture: a band for each site, with a panel for each strategy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pvspec.simulation.claims import changed
from pvspec.simulation.guest import Guest
from pvspec.simulation.second_cpu import RIGHT, TORN, WRONG, SecondCpu
from pvspec.simulation.timeline import WAITS, Timeline, timeline
from pvspec.support.templates import fill

_CELL = 15  # pixels, like all numbers here
_LEFT = 180
_HEAD = 100
_GAP = 26
_MARKS = {RIGHT: "", TORN: "~", WRONG: "≠", "fault": "x", WAITS: "·"}
_LEGEND = {
    RIGHT: "ends right",
    TORN: "ends right, but ran code that is neither old nor new",
    WRONG: "ends wrong",
    "fault": "exception",
    WAITS: "cannot happen: sync waits",
}
_NOTES = (
    "across: the first processor's stores to the site, byte by byte; a dark line is a sync",
    "down: where the second processor is in the old code; square: what happens if it continues at that moment",
)


def picture(guest: Guest, strategies: Sequence[str]) -> str:
    """The text of an SVG with all sites that change; the strategy `unfilled` has no separate timeline."""
    drawn = [strategy for strategy in strategies if strategy != "unfilled"]
    bands, y, width = [], _HEAD, 640
    for site in changed(guest):
        cpu = SecondCpu(guest, site)
        timelines = [timeline(guest, strategy, cpu) for strategy in drawn]
        band = _band(guest, timelines, y + _GAP) if timelines else None
        if band is not None:
            bands.append(band)
            y = max(panel["end"] for panel in band["panels"])
            width = max(width, *(panel["right"] + 10 for panel in band["panels"]))
    title = f"{guest.backend}: a site is patched while a second processor runs it"
    entries = list(_legend())
    return fill(
        "timeline.svg.jinja",
        title=title,
        notes=_NOTES,
        width=max(width, entries[-1]["right"]),
        height=y + 14,
        cell=_CELL,
        legend=entries,
        legend_y=_HEAD - 20,
        bands=bands,
    )


def _legend() -> Iterator[dict[str, Any]]:
    x = 10
    for kind, text in _LEGEND.items():
        right = x + _CELL + 4 + 6 * len(text) + 14
        yield {"x": x, "kind": kind, "mark": _MARKS[kind], "text": text, "right": right}
        x = right


def _band(guest: Guest, timelines: Sequence[Timeline], y: int) -> dict[str, Any]:
    site, top = timelines[0].site, y + 31
    panels, x = [], _LEFT
    for line in timelines:
        panels.append(_panel(line, x, top))
        x = panels[-1]["right"] + _GAP
    places = [{"next": lane.next, "y": top + _CELL * row} for row, lane in enumerate(timelines[0].lanes)]
    code = {"before": site.original.hex(" "), "after": guest.patched(site).hex(" ")}
    return {"op": site.op, "x": _LEFT, "y": y, "places": places, "panels": panels, **code}


def _panel(line: Timeline, x: int, top: int) -> dict[str, Any]:
    columns = [x + _CELL * column for column in range(len(line.moments))]
    moments = [
        {"x": left, "label": moment.code.hex() or "-"} for left, moment in zip(columns, line.moments, strict=True)
    ]
    squares = [
        _square(columns[column], top + _CELL * row, outcome)
        for row, lane in enumerate(line.lanes)
        for column, outcome in enumerate(lane.outcomes)
    ]
    syncs = [left for left, moment in zip(columns, line.moments, strict=True) if moment.synced]
    extent = {"right": columns[-1] + _CELL, "end": top + _CELL * len(line.lanes)}
    return {"strategy": line.strategy, "x": x, "moments": moments, "squares": squares, "syncs": syncs, **extent}


def _square(x: int, y: int, outcome: str) -> dict[str, Any]:
    kind = outcome if outcome in _LEGEND else "fault"
    return {"x": x, "y": y, "kind": kind, "mark": _MARKS[kind], "text": outcome}
