"""Spec files and positions in them.

A `Span` travels with every node of the syntax tree, so that each message can
name file, line and column and underline the text.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from functools import cached_property

from pvspec.engine.value import Value


@dataclass(frozen=True, eq=False)
class Source:
    """One spec file: the name shown to users, its text, and the name that generated code gives it.

    `label` is relative to what was compiled, so that the output does not depend on where that is.
    """

    name: str
    text: str = field(repr=False)
    label: str = ""

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column (both from 1) of a character offset."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int, first: int = 0, most: int | None = None) -> str:
        """The text of one line (from 1), without its newline; from a column (from 0) on, and so many of them."""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        start += first
        return self.text[start : end if most is None else min(end, start + most)].rstrip("\r")


class Span(Value):
    """Characters [start, end) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line of the first character, from 1."""
        return self.source.place(self.start)[0]

    @property
    def column(self) -> int:
        """Column of the first character, from 1."""
        return self.source.place(self.start)[1]

    @property
    def length(self) -> int:
        """How many characters."""
        return self.end - self.start

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    @property
    def where(self) -> str:
        """File and line, as the printed module names them."""
        return f"{self.source.label or self.source.name}:{self.line}"

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of another."""
        return Span(self.source, self.start, other.end)

    def part(self, start: int, end: int) -> Span:
        """A part of this span; offsets count from its start."""
        return Span(self.source, self.start + start, self.start + max(end, start + 1))
