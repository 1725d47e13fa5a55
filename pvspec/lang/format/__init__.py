"""The canonical layout of a spec (`pvspec fmt`).

Tokens and comments are moved, never changed: the text is scanned again, the syntax tree says where constructs
begin, and nothing but spaces and line ends between tokens differs afterwards.

Rows:

- Four spaces per brace level; every construct is a row of its own: item, declaration, op, rule, arm, answer, case.
- The lists `table`, `returns`, `clobbers`, `nops` and `passes` stay on one line where the author wrote them on one
  and they fit; otherwise their entries keep the author's lines. Entries are two spaces apart.
- An empty brace without a comment is `{ }`; all other braces are opened.
- At most one blank line between rows is kept, none at the start or end of a brace or of the file.

Columns:

- Neighbouring rows of one kind are aligned: numbers, inputs, results, `clobbering`, `noreturn`, `len` and `when`
  of ops; `=`, `when` and the first `else` of rules; `when` of arms; `at`, `len`, `clobber` and `=>` of cases; types
  of fields that have a line of their own. Comments and blank lines do not part a table; blank lines part cases.
- Columns are two spaces apart; before `=`, `:`, `at`, `=>` and the parts of a case one is enough.
- A cell wider than 56 columns neither sets nor follows the columns after it.
- Trailing comments are aligned within one brace level, up to a blank line; after code wider than 80 columns
  they follow at two spaces.

Long rows:

- The author's line ends before `else` are kept, all others inside a construct are joined.
- A row that exceeds 110 columns, its comment not counted, is broken before every `else`, a case before `=>`; what
  is still too long before `with`; then after commas, before `when`, `and` and `or`, before the fields of a case, each
  as late as possible.
- `else` is placed so that its action is under the first one, where that is deeper than the row; everything else
  continues four columns deeper.
- A comment inside a construct stays between its two tokens, and so keeps the line end after it.

Strings are never touched; a triple-quoted one keeps its own indentation, since its text is part of the tree.
`5*pae` is tight, all other operators are spaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pvspec.engine.value import Value
from pvspec.lang.diagnostics import Findings, SpecError, Work
from pvspec.lang.files import read_texts
from pvspec.lang.format.align import align_columns, align_comments
from pvspec.lang.format.breaks import layout
from pvspec.lang.format.outline import outline
from pvspec.lang.format.rows import rows
from pvspec.lang.format.tokens import scan
from pvspec.lang.parse import parse
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
    file = parse(source, work)
    tokens = scan(source.text)
    work.add(_TOKEN * len(tokens), f"the layout of {source.name}")
    outline(file, tokens)
    table = rows(tokens)
    align_columns(table)
    return align_comments([line for row in table for line in layout(row)])


_TOKEN = 35  # units of work that laying out a token costs
