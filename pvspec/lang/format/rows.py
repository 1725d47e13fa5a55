"""Tokens to rows: what is on a line of its own, how deep, and with which spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pvspec.lang.format.tokens import Comment, Token

INDENT = 4  # columns per brace level
WIDTH = 110  # columns of a line, its comment not counted
_LISTS = frozenset({"table", "returns", "clobbers", "nops", "passes"})


@dataclass(slots=True)
class Row:
    """One construct, or one line of a list; `blank`: an empty line comes before it, after the comments."""

    level: int
    kind: str
    blank: bool
    above: Sequence[Comment]
    tokens: list[Token] = field(default_factory=list)

    @property
    def is_parted(self) -> bool:
        """Whether there is an empty line between this row and the one before."""
        return self.blank or any(comment.blank for comment in self.above)

    @property
    def closes(self) -> bool:
        """Whether this is the end of a brace."""
        return self.tokens[0].text == "}"


def rows(tokens: Sequence[Token]) -> list[Row]:
    """All rows; the last holds the empty token and with it the comments at the end of the file."""
    for before, token in pairwise(tokens):
        token.spaces = _spaces(before, token)
        token.breaks = bool(before.comment or token.above or (token.is_else and token.line_ends))
    splitter = _Splitter(tokens)
    for index in range(len(tokens)):
        splitter.add(index)
    return splitter.rows


def width(tokens: Sequence[Token]) -> int:
    """Columns of these tokens on one line, with the spaces before the first."""
    return sum(token.spaces + len(token.text) for token in tokens)


def end_column(tokens: Sequence[Token], start: int) -> int:
    """Where these tokens end if they start at a column; a string's own lines start at 0."""
    for token in tokens:
        start += token.spaces + token.padding + len(token.text)
        if "\n" in token.text:
            start = len(token.text.rpartition("\n")[2])
    return start


def _spaces(before: Token, token: Token) -> int:
    if token.text in {",", ")"} or before.text == "(" or "*" in {before.text, token.text}:
        return 0
    if token.text == "(" and before.is_call:
        return 0
    return 1 if before.text in {"{", ","} else token.gap


class _Splitter:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.rows: list[Row] = []
        self.level = 0
        self.is_new = True  # the next token begins a row …
        self.is_first = True  # … the first in its brace
        self.one_line_until = -1  # index of the `}` of a list that stays on one line
        self.in_list = False  # whose rows are lines of entries

    def add(self, index: int) -> None:
        token = self.tokens[index]
        closes = token.text == "}" and index != self.one_line_until
        if self.is_new or closes or (self.in_list and self.entry_begins_row(index)):
            self.begin_row(token, closes)
        elif self.in_list and token.is_entry:
            self.rows[-1].kind = ""
        row = self.rows[-1]
        row.tokens.append(token)
        self.is_first = token.text == "{" and not self.opens_one_line(index)
        if self.is_first:
            self.level += 1
            self.in_list = row.tokens[0].text in _LISTS
        stands_alone = token.text == "stacked" and not row.kind and len(row.tokens) == 1
        self.is_new = self.is_first or token.ends_row or token.text == "}" or stands_alone

    def begin_row(self, token: Token, closes: bool) -> None:
        if self.is_first and token.above:
            token.above[0].blank = False
        blank = token.line_ends > 1 and not closes and token.text != "" and (not self.is_first or bool(token.above))
        token.spaces, token.breaks = 0, False
        self.level -= closes
        self.in_list = self.in_list and not closes
        self.rows.append(Row(self.level, token.kind, blank, token.above))

    def entry_begins_row(self, index: int) -> bool:
        token = self.tokens[index]
        if not token.is_entry:
            return False
        end = index + 1
        while not (self.tokens[end].is_entry or self.tokens[end].text == "}"):
            end += 1
        too_long = self.width_with(index, end) > WIDTH
        return bool(token.line_ends or token.above or self.tokens[index - 1].comment) or too_long

    def width_with(self, start: int, end: int) -> int:
        """Columns of the last row if these tokens are added to it."""
        return self.level * INDENT + width(self.rows[-1].tokens) + width(self.tokens[start:end])

    def opens_one_line(self, index: int) -> bool:
        """Whether the brace at `index` is closed on its line; the row then continues until there."""
        end = index + 1
        row = self.rows[-1].tokens
        if row[0].text in _LISTS:
            while self.tokens[end].text != "}":
                end += 1
        elif self.tokens[end].text != "}":
            return False
        inside = self.tokens[index + 1 : end + 1]
        comments = any(t.comment for t in (*row, *inside[:-1])) or any(t.above for t in (*row[1:], *inside))
        lines = len(inside) > 1 and any(t.line_ends for t in inside)
        if comments or lines or (len(inside) > 1 and self.width_with(index + 1, end + 1) > WIDTH):
            return False
        self.one_line_until = end
        return True
