"""Rows to lines: where a row is broken, and how deep it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from pvspec.format.rows import INDENT, WIDTH, Row
from pvspec.format.tokens import Comment, Token

_DEEPEST_ARM = 48  # an `else` is not put under an arm further right
_Piece = list[Token]
_Chance = Callable[[Token, Token], bool]


@dataclass(slots=True)
class Line:
    """A line, or as many as its last string has; `blank`: an empty one stands before it."""

    level: int
    text: str
    comment: str = ""
    blank: bool = False
    padding: int = 0  # columns that put the comment in its column

    def with_comment(self, gap: int) -> str:
        """The text and, `gap` columns and the padding behind it, the comment."""
        return self.text + " " * (gap + self.padding) + self.comment if self.comment else self.text


def pieces_of_author(row: Row) -> list[_Piece]:
    """The row, broken where the author's comments and line ends before `else` break it."""
    return _split(row.tokens, lambda before, token: bool(before.behind) or token.follows_break)


def layout(row: Row) -> Iterator[Line]:
    """The lines of a row and of the comments above it."""
    yield from _comments(row.above, row.level + row.closes, (row.level + row.closes) * INDENT)
    margins = _Margins.of(row)
    for piece in _fit(pieces_of_author(row), margins):
        is_first = piece[0] is row.tokens[0]
        if not is_first:
            yield from _comments(piece[0].above, row.level, margins.start(piece))
        if piece[0].text:
            yield Line(row.level, margins.text(piece), piece[-1].behind, row.blank and is_first)


def _comments(comments: Iterable[Comment], level: int, column: int) -> Iterator[Line]:
    return (Line(level, " " * column + comment.text, blank=comment.blank) for comment in comments)


# ---- where lines start -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Margins:
    """Columns where the lines of one row start; `free_from`: offset up to which its first line is not broken."""

    first: Token
    indent: int
    otherwise: int
    deeper: int
    free_from: int

    @classmethod
    def of(cls, row: Row) -> _Margins:
        indent = row.level * INDENT
        first = row.tokens[0]
        column = indent
        for token in pieces_of_author(row)[0]:
            column += token.padding + token.spaces
            if token.is_arm and column <= _DEEPEST_ARM:
                return cls(first, indent, column, column + INDENT, token.start)
            column += len(token.text)
        return cls(first, indent, indent + INDENT, indent + INDENT, first.start)

    def start(self, piece: Sequence[Token]) -> int:
        if piece[0] is self.first:
            return self.indent
        return self.otherwise if piece[0].is_else else self.deeper

    def text(self, piece: Sequence[Token]) -> str:
        parts = [" " * self.start(piece)]
        for token in piece:
            parts += [" " * self.space(piece, token), token.text]
        return "".join(parts)

    def space(self, piece: Sequence[Token], token: Token) -> int:
        """Columns before a token of a piece: only a row's first line is padded."""
        padding = token.padding if piece[0] is self.first else 0
        return padding + (token.spaces if token is not piece[0] else 0)

    def reach(self, piece: Sequence[Token], tokens: Iterable[Token], column: int) -> tuple[int, int]:
        """Where these tokens of a piece end, put at `column`, and the last column on the way."""
        furthest = column
        for token in tokens:
            column += self.space(piece, token) + len(token.text.partition("\n")[0])
            furthest = max(furthest, column)
            if "\n" in token.text:
                column = len(token.text.rpartition("\n")[2])
        return column, furthest


# ---- breaking --------------------------------------------------------------


def _split(tokens: Sequence[Token], chance: _Chance) -> list[_Piece]:
    pieces = [[tokens[0]]]
    for before, token in pairwise(tokens):
        if chance(before, token):
            pieces.append([])
        pieces[-1].append(token)
    return pieces


def _fit(pieces: list[_Piece], margins: _Margins) -> list[_Piece]:
    """Break what is too long, as the package's docstring says."""
    if any(_is_long(piece, margins) for piece in pieces):
        pieces = [part for piece in pieces for part in _split(piece, lambda _, token: token.is_else)]
    for chance in (_before_with, _behind_comma, _before_clause):
        pieces = [part for piece in pieces for part in _fill(piece, margins, chance)]
    return pieces


def _before_with(_: Token, token: Token) -> bool:
    return token.text == "with"


def _behind_comma(before: Token, _: Token) -> bool:
    return before.text == ","


def _before_clause(_: Token, token: Token) -> bool:
    return token.text in {"when", "=>", "and", "or"}


def _is_long(piece: _Piece, margins: _Margins) -> bool:
    return margins.reach(piece, piece, margins.start(piece))[1] > WIDTH


def _fill(piece: _Piece, margins: _Margins, chance: _Chance) -> list[_Piece]:
    """The piece, broken at these chances as late as possible if it is too long."""
    if not _is_long(piece, margins):
        return [piece]
    first, *chunks = _split(piece, partial(_is_free, margins, chance))
    lines = [first]
    column, _ = margins.reach(first, first, margins.start(first))
    for chunk in chunks:
        end, furthest = margins.reach(lines[-1], chunk, column)
        if furthest > WIDTH:
            lines.append([])
            end, _ = margins.reach(chunk, chunk, margins.start(chunk))
        lines[-1] += chunk
        column = end
    return lines


def _is_free(margins: _Margins, chance: _Chance, before: Token, token: Token) -> bool:
    return token.start > margins.free_from and chance(before, token)
