"""The layout of a spec (`pvspec fmt`): what its author laid out stays, and a line more is a line in the diff.

Tokens and comments are moved, never changed: the text is scanned again, the syntax tree says where constructs begin,
and nothing but spaces and line ends between tokens differs afterwards. No line is laid out by what its neighbours are.

Lines:

- An author's line stays a line. Each construct begins one; the entries of a list may share one, as nops do.
- A brace that is closed on its line and holds no more than one construct, or a list, stays there if the line fits. Of
  all others the first ends its line, and the last begins one; what goes on after it, such as `else`, follows there.
- An empty line stays, one of several, but none at the start or end of a brace or of the file.
- A line is indented by four columns per brace. What goes on is as much deeper as its author put it, but four at least.

Spaces:

- Several spaces stay: they are an author's columns. Words and signs are one apart at least, `5*pae`, brackets and
  commas none; a comment is two apart from its line.

Lines of more than 120 columns, their comment not counted:

- Braces that are opened and closed on it are opened, the outermost first.
- What is still too long is broken by depth, first outside of all brackets, then within those that need it: between
  entries, before each `else` and `=>`; then before `when` and `with`; then before `or` and `and`; then after commas.
  Each part has a line of its own, four columns deeper than what it continues, or eight if that opens a brace.

Strings are never touched; a triple-quoted one keeps its own indentation, since its text is part of the tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pvspec.engine.value import Value
from pvspec.lang.diagnostics import Findings, SpecError, Work
from pvspec.lang.files import read_texts
from pvspec.lang.format.begins import mark
from pvspec.lang.format.breaks import broken
from pvspec.lang.format.lines import Lines, written
from pvspec.lang.format.tokens import scan
from pvspec.lang.parse import parse_constructs
from pvspec.lang.source import Source

__all__ = ["FormattedFile", "format_spec", "format_text"]


class FormattedFile(Value):
    """One file of a spec: its text, and its text in canonical layout."""

    path: Path
    before: str
    after: str

    @property
    def differs(self) -> bool:
        """Whether the layout differs."""
        return self.before != self.after


def format_spec(path: str | os.PathLike[str], *, include: Iterable[str | os.PathLike[str]] = ()) -> list[FormattedFile]:
    """The canonical layout of the files of a spec, which is a file or a directory; nothing is written.

    `include`: folders that links in the directory may lead to. SpecError if any file cannot be read or does not follow
    the grammar.
    """
    findings, found = Findings(), []
    files = read_texts(Path(path), findings, include)
    for source in files:
        try:
            found.append(FormattedFile(Path(source.name), source.text, format_text(source, findings.work)))
        except SpecError as error:
            findings.found += error.diagnostics
    if findings.found:
        raise SpecError(findings.found)
    return found


def format_text(source: Source, work: Work | None = None) -> str:
    """The text in canonical layout, ending with one line end (an empty file stays empty).

    Idempotent; keeps comments and meaning. SpecError if the text does not follow the grammar.
    """
    work = work or Work()
    constructs = parse_constructs(source, work)
    tokens = scan(source.text)
    work.add(_TOKEN * len(tokens), f"the layout of {source.name}")
    mark(constructs, tokens)
    return written(broken(Lines(tokens)), tokens)


_TOKEN = 35  # units of work that laying out a token costs
