"""A simulation that does not show what it claims says so; the picture shows what the exploration finds."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pvspec.simulation.claims import RULES, changed, simulate_guest
from pvspec.simulation.guest import Guest
from pvspec.simulation.interleave import Exploration, Rules, program
from pvspec.simulation.picture import picture
from pvspec.simulation.report import lines
from pvspec.simulation.second_cpu import RIGHT, SecondCpu
from pvspec.simulation.strategies import STRATEGIES, marshalled, two_stage
from pvspec.simulation.timeline import WAITS, timeline
from pvspec.support.templates import fill

SVG = "{http://www.w3.org/2000/svg}"


def test_all_claims_hold(guest: Guest) -> None:
    simulation = simulate_guest(guest, ["two-stage", "unfilled", "marshalled"])
    assert [claim.text for claim in simulation.claims if not claim.held] == []
    assert len(simulation.claims) == 3 + 2 * 3


def test_the_claims_of_breakpoints_hold(xen: Guest) -> None:
    simulation = simulate_guest(xen, ["breakpoint"])
    assert [(claim.text.partition(":")[0], claim.held) for claim in simulation.claims] == [
        ("breakpoint", True),
        ("breakpoint, with a sync that serialises", True),
        ("breakpoint, with a sync that waits", True),
    ]


@pytest.mark.parametrize(
    ("name", "strategy", "failing"),
    [
        ("marshalled", two_stage, ["marshalled: every order"]),
        ("two-stage", marshalled, ["two-stage: breaks the processor"]),
        ("breakpoint", marshalled, ["breakpoint, with a sync that serialises", "breakpoint, with a sync that waits"]),
        ("breakpoint", two_stage, ["breakpoint: every order", "breakpoint, with a sync that serialises"]),
    ],
)
def test_claims_about_the_wrong_strategy_fail(
    xen: Guest, monkeypatch: pytest.MonkeyPatch, name: str, strategy: object, failing: list[str]
) -> None:
    monkeypatch.setitem(STRATEGIES, name, strategy)
    monkeypatch.setitem(RULES, name, tuple(rules._replace(stores="bytes upward") for rules in RULES[name]))
    found = [claim.text for claim in simulate_guest(xen, [name]).claims if not claim.held]
    assert len(found) >= len(failing)
    for text in failing:
        assert any(claim.startswith(text) for claim in found)


def test_the_report_shows_what_ran(xen: Guest) -> None:
    text = "\n".join(lines(simulate_guest(xen, ["two-stage"])))
    assert "c0 85 c0 74 15 25 00     rol byte ptr [ebp + 0x251574c0], 0  <- the site is neither old nor new" in text
    assert "page fault at 0x251574c1, at lookup_address+0x12" in text


def test_timelines_agree_with_the_exploration(guest: Guest) -> None:
    """Whoever arrives at a moment runs on: that is one of the interleavings."""
    for site in changed(guest):
        cpu = SecondCpu(guest, site)
        for strategy in "two-stage", "marshalled", "breakpoint":
            line = timeline(guest, strategy, cpu)
            assert {len(lane.outcomes) for lane in line.lanes} == {len(line.moments)}
            assert all(lane.outcomes[0] == RIGHT for lane in line.lanes), "nothing is written yet"
            found = Exploration(cpu, program(guest, strategy, site, "bytes upward"), Rules("bytes upward")).tally()
            bad = {outcome for lane in line.lanes for outcome in lane.outcomes} - {RIGHT, WAITS}
            assert bool(bad) == bool(found.broken)
            assert line.lanes[0].outcomes[-1] == RIGHT, "all is written"


def test_the_picture_has_a_square_for_each_moment(xen: Guest) -> None:
    root = ElementTree.fromstring(picture(xen, list(STRATEGIES)))
    squares = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    sizes = {site.op: (len(site.original), xen.instructions(site) + 1) for site in changed(xen)}
    assert len(squares) == sum((2 * (size + 1) + size + 2) * lanes for size, lanes in sizes.values())
    kinds = {square.get("class") for square in squares}
    assert kinds >= {"right", "fault", "wrong", "waits"}


def test_a_picture_escapes() -> None:
    values = {"notes": ["</text><script>"], "title": "<&>", "legend": [], "bands": []}
    sizes = {"width": 1, "height": 1, "cell": 1, "legend_y": 1}
    text = fill("timeline.svg.jinja", **values, **sizes)
    assert "<script>" not in text
    assert [node.text for node in ElementTree.fromstring(text).iter(f"{SVG}title")] == ["<&>"]
