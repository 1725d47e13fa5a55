"""Specs that are broken at one place: what is found, and what is still read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvspec.compiler.pipeline import check_spec
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import SpecError, render
from pvspec.lang.format import format_text
from pvspec.lang.parse import Parsed, parse, parse_what_can_be
from pvspec.lang.parse.grammar import parser
from pvspec.lang.parse.recovery import MAX_ERRORS
from pvspec.lang.source import Source
from pvspec.lang.target import ANY
from pvspec.support.paths import resource

HERE = Path(__file__).parent
_TOKEN = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|[<>=]=|=>|->|\.\.|[\w$]+|[^\s\w]')
SHIPPED = [
    "linux-2.6.23/i386/lguest.pvs",
    "linux/jump_labels.pvs",
    "linux/kvm.pvs",
    "linux/policy/retbleed.pvs",
]
SMALL = """
machine m {
    bits 32
    feature fast  1*32 + 2  "fast"
    feature slow  5
    nops n { "90"  "66 90"  "0f 1f 00"  "0f 1f 40 00"  "0f 1f 44 00 00" }
    choose nops n
}
decide decisions in "x.c" {
    clear slow  when cpu has fast
}
interface i {
    table ".t" {
        addr u32  type u8
        len u8  clobber u16
    }
    max_len 254
    registers { eax 1  ecx 2  edx 4 }
    option legacy : bool = false
    symbol known clobbers eax
    op first   1  (eax) -> eax
    op second  2  clobbers ecx  len 5
    op third   3  when legacy
}
chain default {
    asm "ud2"  when target is null
    call target clobbers any
}
backend b for i {
    symbol own
    rom answers(number u32) {
        returns { eip u32  type u8  pad 3 }
        0 nothing = nop
        otherwise = call eip clobbers any
    }
    first     = call known when not cpu has fast
                else default
    second    = answers(5)
    otherwise = default
}
family f {
    table ".u" { site u32  reg u8 }
    len 5
    each r in eax, ecx {
        symbol thunk_$r clobbers none
        call thunk_$r  when reg == 5 and kernel has thunk_$r
    }
}
passes { f, i }
test b {
    second at 0xc1000000 len 5 clobbers none => keep
}
"""


def tokens(text: str) -> Iterator[re.Match[str]]:
    return (match for match in _TOKEN.finditer(text) if not match[0].startswith("#"))


def broken(text: str) -> Parsed:
    """What can be parsed; everything that is said of the rest can be shown."""
    parsed = parse_what_can_be(Source("spec.pvs", text))
    for diagnostic in parsed.diagnostics:
        assert render(diagnostic)
        assert diagnostic.code in ("PV002", "PV003", "PV006")
        assert all(0 <= label.span.start < label.span.end <= len(text) + 1 for label in diagnostic.labels)
    assert len(parsed.diagnostics) <= MAX_ERRORS
    return parsed


@pytest.mark.parametrize("name", SHIPPED)
def test_a_token_that_is_missing_is_one_finding_not_before_it(name: str) -> None:
    text = resource("specs", name).read_text(encoding="utf-8")
    last = text.rstrip().count("\n") + 1
    for token in tokens(text):
        line = text.count("\n", 0, token.start()) + 1
        parsed = broken(text[: token.start()] + text[token.end() :])
        assert len(parsed.diagnostics) <= 1
        for diagnostic in parsed.diagnostics:
            is_at_end = "unexpected end of file" in diagnostic.message
            assert diagnostic.labels[0].span.line >= (min(line, last - 1) if is_at_end else line), (token, diagnostic)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_token_that_is_there_twice_is_one_finding(name: str) -> None:
    text = resource("specs", name).read_text(encoding="utf-8")
    for token in tokens(text):
        parsed = broken(f"{text[: token.end()]} {token[0]}{text[token.end() :]}")
        assert len(parsed.diagnostics) <= 1, (token, parsed.diagnostics)


def test_the_small_spec_is_right(tmp_path: Path) -> None:
    path = tmp_path / "small.pvs"
    path.write_text(SMALL)
    assert [render(finding) for finding in check_spec(path).diagnostics] == []


def test_nothing_is_said_to_be_missing_that_a_broken_part_may_declare(tmp_path: Path) -> None:
    path = tmp_path / "small.pvs"
    for token in tokens(SMALL):
        text = f"{SMALL[: token.start()]} {SMALL[token.end() :]}"
        if not broken(text).diagnostics:
            continue
        path.write_text(text)
        others = [finding for finding in check_spec(path).diagnostics if finding.code != "PV002"]
        # what stood at the place that is gone is not in the file any more
        assert [finding for finding in others if f"`{token[0]}`" not in finding.message] == [], token


@pytest.mark.parametrize("kind", [ast.Machine, ast.Interface, ast.Chain, ast.Backend, ast.Family, ast.Test])
def test_a_broken_item_leaves_the_others(kind: type[ast.Item]) -> None:
    items = parse(Source("spec.pvs", SMALL)).items
    item = next(item for item in items if isinstance(item, kind))
    word = type(item).__name__.lower()
    start = item.span.start
    text = SMALL[:start] + SMALL[start:].replace(word, word[1:], 1)
    parsed = broken(text)
    assert [type(other) for other in parsed.built(ANY).items] == [type(other) for other in items if other is not item]
    assert [diagnostic.labels[0].span.start for diagnostic in parsed.diagnostics] == [start]


def test_positions_are_those_of_the_whole_text() -> None:
    parsed = broken(SMALL.replace("bits 32", "bits").replace("max_len 254", "max_len"))
    names = [item.name for item in parsed.built(ANY).items if isinstance(item, ast.Backend | ast.Family | ast.Decide)]
    assert [name.span.text for name in names] == [name.text for name in names] == ["decisions", "b", "f"]
    assert len(parsed.diagnostics) == 2


def test_a_construct_on_several_lines_is_one() -> None:
    text = "chain c {\n    nop\n    when\n    not x\n    clobbers eax\n    asm\n    5\n    keep\n}\n"
    parsed = broken(text)
    assert [diagnostic.labels[0].span.text for diagnostic in parsed.diagnostics] == ["clobbers", "5"] or parsed.built(
        ANY
    ).items


@pytest.mark.parametrize(
    ("text", "block", "line"),
    [
        ("machine m {\n    bits 32\n", "machine m", 1),
        ('decide f in "x.c" {\n    set a\ntest t {\n}\n', "decide f", 1),
        ("interface i {\n    table x .. y {\n        a u32\n    max_len 5\n}\n", "table x", 2),
        ("interface i {\n    registers {\n        eax 1\n    max_len 5\n}\ntest t { }\n", "registers", 2),
        ("backend b for i {\n    rom r(a u32) {\n        returns { x u32 }\n        otherwise = nop\n}\n", "rom r", 2),
        ("chain c {\n    nop\n\n# between\nchain d {\n    nop\n}\n", "chain c", 1),
        ("family f {\n    each r in eax {\n        nop\n    keep\n}\n", "each r", 2),
        ("family f {\n    if on m {\n        nop\n}\nchain d {\n    nop\n}\n", "if on", 2),
        ('decide f in "a.c" {\n    if x {\n        set a\n    else {\n        set b\n    }\n}\n', "if x", 2),
        ('decide f in "a.c" since 6.1 {\n    set a\ndecide g in "a.c" before 6.1 {\n}\n', "decide f", 1),
        ("passes {\n    a, b\ntest t { }\n", "passes", 1),
        ("test t {\n    at 1 => nops\ntest u {\n}\n", "test t", 1),
        ('family f {\n    table x .. y { a u32\n    nop\n}\ninclude "x"\n', "table x", 2),
    ],
)
def test_a_missing_brace_points_at_the_block_that_is_open(text: str, block: str, line: int) -> None:
    (diagnostic,) = broken(text).diagnostics
    assert f"the block `{block}`" in diagnostic.message
    assert f"spec.pvs:{line}" in diagnostic.message
    place, opening = diagnostic.labels
    assert opening.span.line == line
    assert opening.text == "opened here"
    assert place.span.start > opening.span.end


def found(text: str) -> list[tuple[int, str]]:
    return [(finding.labels[0].span.line, finding.labels[0].span.text) for finding in broken(text).diagnostics]


def test_a_word_that_may_begin_an_item() -> None:
    """It does where no block is open; in a block it may be a name, unless what follows it makes it certain."""
    assert found("backend b for i {\n    bogus !!\n    test = keep\n}\nchain c { keep }\n") == [(2, "!")]
    assert found("junk\nchain { keep }\nchain d { keep }\n") == [(1, "junk"), (2, "{")]


def test_items_in_a_block_of_if() -> None:
    """They do not end it, and `else` goes on with it."""
    text = "if before 6.1 {{\nchain c {{\n    nop {}\n}}\n{}\n}} else {{\nchain d {{ keep }}\n}}\nchain e {{ keep }}\n"
    assert found(text.format("!!", "")) == [(3, "!")]
    assert found(text.format("", "junk")) == [(5, "junk")]
    assert found(f"{text.format('', '')}chain f {{ nop !! }}\n") == [(10, "!")]
    assert found("family f {\n    if on m {\n        nop\n}\nchain d {\n    nop\n}\n") == [(5, "chain")]


def test_a_construct_on_several_lines_is_right_beside_a_wrong_one() -> None:
    """Its lines look like constructs of their own. One that is very long is not tried in whole."""
    text = 'chain c {{\n    asm\n    "{}"\n    bogus !!\n    keep\n}}\n'
    assert found(text.format("nop")) == [(4, "!")]
    assert [line for line, _ in found(text.format("nop; " * 1000 + "nop"))] == [2, 4]


@pytest.mark.parametrize("rest", ["%eax", '"text"', "5"])
def test_what_goes_on_with_a_wrong_construct_is_not_reported(rest: str) -> None:
    assert found(f"chain c {{\n    nop !!\n    {rest}\n    keep\n}}\n") == [(2, "!")]


def test_where_a_construct_begins() -> None:
    """Not after a word that lets one go on, nor in an inner block; and further left than the first one as well."""
    assert found("chain c {\n    nop when x and\n    y !!\n    keep\n}\n") == [(3, "!")]
    assert found("chain c {\n        nop !!\n    keep !!\n    keep\n}\n") == [(2, "!"), (3, "!")]
    assert found("family f {\n    each r in eax {\n    nop !!\n    }\n    keep\n}\n") == [(3, "!")]


def test_a_block_of_nothing_but_wrong_constructs_is_not_empty() -> None:
    assert found("chain c {\n    bogus !!\n}\n") == [(2, "!")]


def test_what_was_meant_for_an_included_file_ends_the_check(tmp_path: Path) -> None:
    for include in ('inclde "base.pvs"', "include base.pvs", '"base.pvs"', 'include "base.pvs'):
        path = tmp_path / "spec.pvs"
        path.write_text(f"{include}\nbackend b for unknown {{ a = nowhere }}\n")
        assert {finding.code for finding in check_spec(path).diagnostics} == {"PV002"}


def test_the_number_of_findings_is_bounded() -> None:
    text = "machine m {\n" + "    bits\n" * 1000 + "}\n" + "chian c { }\n" * 1000
    diagnostics = broken(text).diagnostics
    assert len(diagnostics) == MAX_ERRORS
    assert diagnostics[-1].notes == (f"{2000 - MAX_ERRORS} more syntax errors in this file are not shown",)


def test_no_character_is_parsed_more_than_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    real = parser()

    class Counting:
        def parse(self, text: str) -> object:
            parsed.append(len(text))
            return real.parse(text)

    monkeypatch.setattr("pvspec.lang.parse.parser", Counting)
    for line in (
        "    x = asm\n",
        "    x =\n",
        "    x = y,\n",
        "    =\n",
        "    ;\n",
        "    {\n",
        "    }\n",
        '    "\n',
        "    + 5\n",
    ):
        for name in ("b", "b" * 5000):
            text = f"backend {name} for i {{\n" + line * 2000 + "}\n"
            parsed.clear()
            broken(text)
            assert sum(parsed) < 60 * len(text), line


@pytest.mark.parametrize(
    "text", ['machine m { bits "32', 'test t {\n    at 1 "x => nops', 'include "x', 'chain c { asm """x']
)
def test_an_open_string_is_marked_to_the_end_of_its_line(text: str) -> None:
    found = broken(text).diagnostics
    ends = [finding.labels[0].span.end for finding in found if finding.message == "this string is not closed"]
    assert ends == [text.index('"', 2) + 3 if '"""' in text else len(text)]


def test_a_broken_file_is_not_laid_out() -> None:
    with pytest.raises(SpecError, match="PV002"):
        format_text(Source("spec.pvs", SMALL + "chain x {"))


@settings(max_examples=60)
@given(st.data())
def test_anything_is_said_in_findings(data: st.DataObject) -> None:
    text = SMALL
    for _ in range(data.draw(st.integers(1, 4))):
        found = list(tokens(text))
        if not found:
            break
        token = data.draw(st.sampled_from(found))
        new = data.draw(
            st.sampled_from([*[t[0] for t in tokens(SMALL)], "", "%", "\0", "\u00a0", '"', '"""', "//", "/*", ";"])
        )
        text = text[: token.start()] + new + text[token.end() :]
    parsed = broken(text)
    if not parsed.diagnostics:
        format_text(Source("spec.pvs", text))
