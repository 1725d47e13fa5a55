"""What holds for every spec: comments, meaning and strings are kept, and the layout is its own fixed point."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import SpecError
from pvspec.lang.format import format_text
from pvspec.lang.parse import parse
from pvspec.lang.source import Source

from .spec_texts import spec_texts

SPECS = sorted((Path(__file__).parents[2] / "specs").rglob("*.pvs"))
LEXEME = re.compile(r'"""[\s\S]*?"""|"[^"\n]*"|#[^\n]*|[^\s"#]')


def tree(text: str) -> ast.File | None:
    try:
        return parse(Source("x.pvs", text))
    except SpecError:
        return None


def without_spans(node: object) -> Any:
    if isinstance(node, tuple):
        return tuple(without_spans(part) for part in node)
    if isinstance(node, Value):
        return type(node).__name__, {k: without_spans(v) for k, v in vars(node).items() if k != "span"}
    return node


def lexemes(text: str) -> list[str]:
    """All characters that are no spaces between tokens, comments in their places."""
    return [lexeme.rstrip() if lexeme.startswith("#") else lexeme for lexeme in LEXEME.findall(text)]


def check(text: str) -> str:
    before = tree(text)
    assert before is not None
    laid_out = format_text(Source("x.pvs", text))
    assert lexemes(laid_out) == lexemes(text)
    assert without_spans(tree(laid_out)) == without_spans(before)
    assert format_text(Source("x.pvs", laid_out)) == laid_out
    check_shape(laid_out)
    return laid_out


def check_shape(laid_out: str) -> None:
    outside = re.sub(r'"""[\s\S]*?"""', '""', laid_out)
    assert laid_out == "" or (laid_out.endswith("\n") and not laid_out.startswith("\n"))
    assert not re.search(r"\n\n\n|[ \t\r]\n|\{(  #.*)?\n\n|\n\n *\}|\n\n\Z", outside)
    for line in outside.splitlines():
        code = re.sub(r'"[^"\n]*"', '""', line).partition("#")[0]
        assert "\t" not in code
        braces = [b for b in code if b in "{}"]
        assert braces in ([], ["{"], ["}"], ["{", "}"])


def row_nodes(file: ast.File) -> Iterator[ast.Node]:
    """What begins a line: items, what they hold, and what roms hold."""
    for item in file.items:
        yield item
        if isinstance(item, ast.Passes):
            continue
        for node in children(item):
            if not isinstance(node, ast.ClobberBit | ast.Choice | ast.Number | ast.Name | ast.Text):
                yield node
            if isinstance(node, ast.Rom):
                yield from (*node.answers, node.otherwise)


def children(node: ast.Node) -> Iterator[ast.Node]:
    for value in vars(node).values():
        yield from (part for part in (value if isinstance(value, tuple) else ()) if isinstance(part, ast.Node))


def check_rows(laid_out: str) -> None:
    file = tree(laid_out)
    assert file is not None
    for node in row_nodes(file):
        line_start = laid_out.rfind("\n", 0, node.span.start) + 1
        assert laid_out[line_start : node.span.start].strip() == "", node.span.text


@given(spec_texts())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_random_specs(text: str) -> None:
    assume(tree(text))  # a name that is a keyword may end a list of arms or options too early
    check_rows(check(text))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(SPECS[0].parents[2])))
def test_shipped_specs(path: Path) -> None:
    laid_out = check(path.read_text(encoding="utf-8"))
    check_rows(laid_out)
    assert max(len(line.partition("  #")[0]) for line in laid_out.splitlines() if line.strip()[:1] != "#") <= 110


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(SPECS[0].parents[2])))
@pytest.mark.parametrize("between", [" ", "\n"])
def test_authors_spaces_hardly_matter(path: Path, between: str) -> None:
    text = path.read_text(encoding="utf-8")
    pieces = re.findall(r'"""[\s\S]*?"""|"[^"\n]*"|#[^\n]*\n|==|=>|->|<<|<=|>=|\.\.|[\w$]+|[^\s\w]', text)
    check_rows(check(between.join(pieces)))
