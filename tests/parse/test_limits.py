"""Limits of a text: what is exactly at a limit is read, one more is refused."""

from __future__ import annotations

import pytest

from pvspec.lang.diagnostics import MAX_REPORTED, MAX_WORK, Findings, SpecError, TooMuchWork, Work
from pvspec.lang.parse import limits, parse
from pvspec.lang.source import Source, Span

MACHINE = 'machine m {{ bits 32 feature A {number} nops n {{ "90" }} choose nops n }}\n'
GUARDED = 'family f {{ table "f" {{ site u32 }} len 1 nop when {guard} }}\n'
EACH = 'family f {{ table "f" {{ site u32 }} len 1 each r in {names} {{ {arms} }} {more} }}\n'


def refused(text: str) -> str | None:
    """The message of PV003; None if the text is read."""
    try:
        parse(Source("a.pvs", text))
    except SpecError as error:
        (found,) = (finding for finding in error.diagnostics if finding.code == "PV003")
        return found.message
    return None


def nested(depth: int, more: str = "") -> str:
    return GUARDED.format(guard="(" * depth + "cpu has A" + ")" * depth + more)


def test_nesting() -> None:
    assert refused(nested(limits.MAX_NESTING)) is None
    assert refused(nested(limits.MAX_NESTING + 1)) == f"parentheses nested deeper than {limits.MAX_NESTING}"
    assert refused(nested(limits.MAX_NESTING, " or (cpu has A) or (cpu has A)")) is None


def test_numbers() -> None:
    for number in ("18446744073709551615", "0xffffffffffffffff", "00000000000000000001"[:20]):
        assert refused(MACHINE.format(number=number)) is None
    for number in ("18446744073709551616", "0x10000000000000000", "0" * 20 + "1"):
        assert refused(MACHINE.format(number=number)) == "a number of more than 64 bits"


@pytest.mark.parametrize(
    ("names", "arms", "more", "made"), [(4, 2, 0, 8), (8, 1, 0, 8), (3, 3, 0, 9), (4, 1, 4, 8), (4, 1, 5, 9)]
)
def test_what_each_makes(monkeypatch: pytest.MonkeyPatch, names: int, arms: int, more: int, made: int) -> None:
    monkeypatch.setattr(limits, "MAX_MADE", 8)
    another = f"each r in {', '.join('abcdefgh'[:more])} {{ nop }}" if more else ""
    text = EACH.format(names=", ".join("abcdefgh"[:names]), arms=" ".join(["nop"] * arms), more=another)
    expected = "`each` makes more than 8 arms and symbols in this file" if made > 8 else None
    assert refused(text) == expected


def test_length(monkeypatch: pytest.MonkeyPatch) -> None:
    text = MACHINE.format(number=1)
    monkeypatch.setattr(limits, "MAX_TEXT", len(text))
    assert refused(text) is None
    monkeypatch.setattr(limits, "MAX_TEXT", len(text) - 1)
    assert refused(text) == f"a.pvs is longer than {len(text) - 1} characters"


def test_words() -> None:
    name = "x" * limits.MAX_WORD
    assert refused(MACHINE.format(number=1).replace("A", name)) is None
    assert refused(MACHINE.format(number=1).replace("A", name + "x")) == "a word of more than 256 characters"


def test_the_files_of_a_spec_are_one_input() -> None:
    work, source = Work(), Source("a.pvs", MACHINE.format(number=1) * 100)
    for _ in range(10):
        assert parse(source, work).items
    work.add(MAX_WORK - work.units, "all that is left")
    with pytest.raises(TooMuchWork, match="PV003"):
        parse(source, work)
    assert parse(source).items


def test_what_is_reported() -> None:
    findings = Findings()
    for at in range(MAX_REPORTED + 5):
        findings.add("PV101", f"unknown {at}", (Span(Source("a.pvs", "x" * 1000), at, at + 1), ""))
    error = SpecError(findings.found)
    assert len(error.diagnostics) == MAX_REPORTED
    assert error.diagnostics[-1].notes == ("5 more errors in this spec",)
    assert error.diagnostics[0].notes == ()
