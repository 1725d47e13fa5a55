"""Spec texts: parsed, laid out, and checked down to the code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pvspec.compiler.pipeline import check_spec
from pvspec.compiler.printout import render as render_module
from pvspec.lang.diagnostics import CODES, Diagnostic, SpecError, render
from pvspec.lang.format import format_text
from pvspec.lang.parse import parse
from pvspec.lang.parse.grammar import keywords
from pvspec.lang.source import Source
from pvspec.support.paths import resource
from tests.fuzz.loop import Target

TESTS = Path(__file__).parent.parent
_INCLUDE = re.compile(r'^include "([^"\n]*)"\n', re.M)
_UNPLACED = {"PV001", "PV003", "PV104"}  # a file as a whole, or what is in none
_VALUES = (
    *("0", "1", "8", "32", "64", "0xffffffff", "18446744073709551615", "null", "target", "elsewhere", "any", "none"),
    *("flags", "interrupt_flag", "eax", "rax", "len", "u8", "u16", "u32", "u64", "rel32", "u1", "u15", '""', '"90"'),
    *('"e8 00 00 00 00"', '"cli"', '"jmp x; x:"', '"call check"', '"mov eax, dword ptr [state]"', "{", "}", "(", ")"),
    *('"""', "# ", "=>", "..", "==", "&", "$", "<<", ","),
)


def _one_file(path: Path) -> str:
    """A spec whose includes stand in their places."""
    return _INCLUDE.sub(
        lambda found: _included(path.parent / found[1]), path.read_text(encoding="utf-8", errors="replace")
    )


def _included(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.name == "base.pvs" else ""


def _paths() -> Iterator[Path]:
    for folder in ("pass", "run", "fail", "fuzz"):
        yield from sorted(TESTS.joinpath(folder).glob("*.pvs"))


def small() -> Iterator[bytes]:
    """The specs of the tests, each in one file."""
    yield from (_one_file(path).encode() for path in _paths())


def shipped() -> Iterator[bytes]:
    """Those and the first 25 lines of each shipped file."""
    yield from small()
    for path in sorted(resource("specs").rglob("*.pvs")):
        yield b"".join(path.read_bytes().splitlines(keepends=True)[:25])


@cache
def _words() -> Sequence[bytes]:
    return tuple(word.encode() for word in (*sorted(keywords().values()), *_VALUES))


def _located(diagnostics: Sequence[Diagnostic]) -> str:
    """Each one says where, in the file, and can be shown; all that they say."""
    assert diagnostics
    for diagnostic in diagnostics:
        assert diagnostic.code in CODES
        assert diagnostic.labels or diagnostic.code in _UNPLACED, diagnostic
        for label in diagnostic.labels:
            assert 0 <= label.span.start < label.span.end + (label.span.text == ""), diagnostic
            assert label.span.end <= len(label.span.source.text) + 1, diagnostic  # behind the end, if that is the place
        assert all(line.isprintable() for line in render(diagnostic).split("\n"))
    return "; ".join(sorted({f"{diagnostic.code} {diagnostic.message}" for diagnostic in diagnostics}))


def _source(data: bytes) -> Source:
    return Source("spec.pvs", data.decode("utf-8", "replace"))


def _parse(data: bytes) -> str:
    try:
        parse(_source(data))
    except SpecError as error:
        return _located(error.diagnostics)
    return ""


def _format(data: bytes) -> str:
    """Laid out twice is laid out once, and nothing but white space differs."""
    source = _source(data)
    try:
        once = format_text(source)
    except SpecError as error:
        return _located(error.diagnostics)
    assert "".join(once.split()) == "".join(source.text.split())
    assert format_text(Source("spec.pvs", once)) == once
    return ""


@cache
def _file() -> Path:
    return Path(mkdtemp(), "spec.pvs")


def _check(data: bytes) -> str:
    """A sound one renders to Python that compiles."""
    _file().write_bytes(data)
    checked = check_spec(_file())
    if checked.diagnostics:
        return _located(checked.diagnostics)
    if len(data) % 8 == 0:
        compile(render_module(checked.sound()), "<module>", "exec")
    return ""


def targets() -> Iterator[Target]:
    yield Target("parse", True, shipped, _words(), _parse)
    yield Target("format", True, shipped, _words(), _format)
    yield Target("check", True, small, _words(), _check)
