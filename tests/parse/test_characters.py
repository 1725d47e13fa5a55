"""Characters that no spec has outside strings and comments, and line ends of other systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import Findings, printable, render
from pvspec.lang.files import read_spec
from pvspec.lang.parse import parse, parse_what_can_be
from pvspec.lang.source import Source

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


@pytest.mark.parametrize("char", ["\u00a0", "\u200b", "\u202e", "\u201c", "\uff10", "\u4e2d"])
def test_comments_and_strings_may_hold_any(char: str) -> None:
    text = TEXT.replace("# bits", f"# {char}").replace("m {", f'm {{ feature x "{char}"')
    assert len(parse(Source("m.pvs", text)).items) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_of_other_systems_are_line_ends(tmp_path: Path, end: str, mark: str) -> None:
    path = tmp_path / "m.pvs"
    path.write_bytes((mark + TEXT.replace("choose nops n", "choose nops n x")).replace("\n", end).encode())
    (found,) = check_spec(path).diagnostics
    assert (found.message, found.labels[0].span.line, found.labels[0].span.column) == ("unexpected `x`", 4, 19)
    path.write_bytes((mark + TEXT).replace("\n", end).encode())
    findings = Findings()
    assert len(read_spec(path, findings).items) == 1
    assert findings.found == []


def test_the_mark_is_under_the_character() -> None:
    (found,) = parse_what_can_be(Source("m.pvs", 'machine m { bits 32 feature x "\u202e" \u00a0 }')).diagnostics
    shown = render(found).split("\n")
    assert shown[3].index("\\xa0") == shown[4].index("^")
