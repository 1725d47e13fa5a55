"""Characters that no spec has outside strings and comments, and line ends of other systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import Findings, render
from pvspec.lang.files import read_spec
from pvspec.lang.parse import parse, parse_what_can_be
from pvspec.lang.rendering import printable
from pvspec.lang.source import Source
from pvspec.lang.target import ANY

TEXT = 'machine m {\n    bits 32 # bits\n    nops n { "90" }\n    choose nops n\n}\n'
ALLOWED = frozenset(" \t\r\n\f")
CHARACTERS = [
    *(
        chr(code)
        for code in range(0x250)
        if not (chr(code).isascii() and chr(code).isprintable()) and chr(code) not in ALLOWED
    ),
    *"\u1680\u180e\u2000\u2003\u2007\u2009\u200b\u200c\u200d\u200e\u200f\u2010\u2011\u2013\u2014\u2018\u2019\u201c\u201d\u2026",
    *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u202f\u205f\u2060\u2066\u2067\u2069\u2212\u3000\ufeff\uff10\uff19\uff5b\u0661",
    *"\u0430\u03b1\u4e2d\U0001f600\U000e0001\ud800",
]


@pytest.mark.parametrize("at", [TEXT.index("bits"), TEXT.index(" 32"), TEXT.index("}"), TEXT.index("machine")])
def test_each_is_shown_where_it_is(at: int) -> None:
    for char in CHARACTERS:
        text = TEXT[:at] + char + TEXT[at:]
        found = parse_what_can_be(Source("m.pvs", text)).diagnostics
        assert [(f.message, f.labels[0].span.start) for f in found] == [(f"unexpected `{char}`", at)], hex(ord(char))
        shown = render(found[0])
        assert f"unexpected `{printable(char)}`" in shown
        assert f"U+{ord(char):04X} " in shown
        assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize("char", ["\u00a0", "\u00e9", "\u201c", "\uff10", "\u4e2d", "\U0001f600"])
def test_comments_and_strings_may_hold_what_can_be_seen(char: str) -> None:
    text = TEXT.replace("# bits", f"# {char}").replace("m {", f'm {{ feature x "{char}"')
    assert len(parse(Source("m.pvs", text)).items) == 1


HIDDEN = (
    "\x00\x07\x1b\x7f\x85\u00ad\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u200b"
    "\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
)
HIDDEN += "\u2060\u2064\u2066\u2067\u2068\u2069\u206a\u2800\u3164\ufe0f\ufeff\uffa0"
HIDDEN += "\ufff9\U0001d173\U000e0001\U000e0100\ue000\u0378"


@pytest.mark.parametrize("inside", ["# {}", 'feature x "a{}b"', 'feature {} "a"', "{}", "bits{}32"])
def test_what_cannot_be_seen_is_refused_everywhere(inside: str) -> None:
    for char in HIDDEN:
        text = TEXT.replace("# bits", inside.format(char) + "\n")
        found = parse_what_can_be(Source("m.pvs", text)).diagnostics
        assert [finding.labels[0].span.start for finding in found] == [text.index(char)], hex(ord(char))
        shown = render(found[0]) + json.dumps(found[0].as_json(), ensure_ascii=False)
        assert char not in shown
        assert f"U+{ord(char):04X} " in shown


@pytest.mark.parametrize(
    ("text", "at"),
    [("# a\rb\n{}", (1, 4)), ("{}\r", None), ("a\r\n\r{}\n", (2, 1)), ("# a\r# b\r{}", None), ("# a\r\n{}", None)],
)
def test_carriage_returns_are_not_mixed_with_line_ends(tmp_path: Path, text: str, at: tuple[int, int] | None) -> None:
    """A viewer that knows only line feeds shows `asm` in such a comment; for this program it would be code."""
    path = tmp_path / "m.pvs"
    path.write_bytes(text.format(TEXT.replace("\n", " ").replace("# bits", "")).encode())
    found = [finding for finding in check_spec(path).diagnostics if finding.code == "PV006"]
    assert [(f.labels[0].span.line, f.labels[0].span.column) for f in found] == ([at] if at else [])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_of_other_systems_are_line_ends(tmp_path: Path, end: str, mark: str) -> None:
    path = tmp_path / "m.pvs"
    path.write_bytes((mark + TEXT.replace("choose nops n", "choose nops n x")).replace("\n", end).encode())
    (found,) = check_spec(path).diagnostics
    assert (found.message, found.labels[0].span.line, found.labels[0].span.column) == ("unexpected `x`", 4, 19)
    path.write_bytes((mark + TEXT).replace("\n", end).encode())
    findings = Findings()
    assert len(read_spec(path, findings).for_kernel(ANY, findings).items) == 1
    assert findings.found == []


def test_the_mark_is_under_the_character() -> None:
    (found,) = parse_what_can_be(Source("m.pvs", 'machine m { bits 32 feature x "\u3000" \u00a0 }')).diagnostics
    shown = render(found).split("\n")
    assert shown[3].index("\\xa0") == shown[4].index("^")
