"""What holds for every spec: comments, meaning and strings are kept, and the layout is its own fixed point."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pvspec.lang.format import format_text
from pvspec.lang.parse import parse_constructs
from pvspec.lang.source import Source

from .spec_texts import spec_texts

SPECS = sorted((Path(__file__).parents[2] / "specs").rglob("*.pvs"))
LEXEME = re.compile(r'"""[\s\S]*?"""|"[^"\n]*"|#[^\n]*|[^\s"#]')
NO_CODE = re.compile(r'"""[\s\S]*?"""|"[^"\n]*"|#[^\n]*')
ENTRIES = {
    "STRING",
    "NAME",
    "value",
    "harmless_values",
    "value_field",
    "pad_field",
    "clobber_bit",
    "op_range",
    "ordered",
}


def lexemes(text: str) -> list[str]:
    """All characters that are no spaces between tokens, comments in their places."""
    return [lexeme.rstrip() if lexeme.startswith("#") else lexeme for lexeme in LEXEME.findall(text)]


def rules(text: str) -> list[str]:
    return [construct.rule for construct in parse_constructs(Source("x.pvs", text))]


def check(text: str) -> str:
    laid_out = format_text(Source("x.pvs", text))
    assert lexemes(laid_out) == lexemes(text)
    assert rules(laid_out) == rules(text)
    assert format_text(Source("x.pvs", laid_out)) == laid_out
    check_shape(laid_out)
    check_constructs(laid_out)
    return laid_out


def check_shape(laid_out: str) -> None:
    outside = re.sub(r'"""[\s\S]*?"""', '""', laid_out)
    assert laid_out == "" or (laid_out.endswith("\n") and not laid_out.startswith("\n"))
    assert not re.search(r"\n\n\n|[ \t\r]\n|\{(  +#.*)?\n\n|\n\n *\}|\n\n\Z", outside)
    depth = 0
    for line in outside.splitlines():
        code = re.sub(r'"[^"\n]*"', '""', line).partition("#")[0].rstrip()
        assert "\t" not in code
        while code != (code := re.sub(r"\{[^{}]*\}", "", code)):
            pass
        assert re.fullmatch(r" *(\}[^{}]*)?([^{}]*\{)?|[^{}]*", code)
        depth -= "}" in code
        indent = len(line) - len(line.lstrip())
        assert indent == 4 * depth or indent >= 4 * (depth + 1) or line == ""
        depth += code.endswith("{")


def check_constructs(laid_out: str) -> None:
    """What is in braces begins a line, or is alone there."""
    code = NO_CODE.sub(lambda found: " " * len(found[0]), laid_out)
    for rule, start, _, within in parse_constructs(Source("x.pvs", laid_out)):
        in_braces = within < 0 or code.count("{", within, start) > code.count("}", within, start)
        if in_braces and rule not in ENTRIES:
            before = code[code.rfind("\n", 0, start) + 1 : start].strip()
            assert before == "" or before.endswith("{"), laid_out[start:].partition("\n")[0]


@given(spec_texts())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_random_specs(text: str) -> None:
    check(text)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(SPECS[0].parents[2])))
def test_shipped_specs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert check(text) == text
    assert max(len(line.partition("  #")[0]) for line in text.splitlines() if line.strip()[:1] != "#") <= 120


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(SPECS[0].parents[2])))
@pytest.mark.parametrize("between", [" ", "\n"])
def test_whatever_the_authors_spaces(path: Path, between: str) -> None:
    text = path.read_text(encoding="utf-8")
    pieces = re.findall(r'"""[\s\S]*?"""|"[^"\n]*"|#[^\n]*\n|[=!<>]=|=>|->|<<|\.\.|[\w$]+(?:\.\w+)*|[^\s\w]', text)
    check(between.join(pieces))
