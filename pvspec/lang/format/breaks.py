"""Rows to lines: where a row is broken, and how deep it continues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from pvspec.lang.format.rows import INDENT, WIDTH, Row
from pvspec.lang.format.tokens import Comment, Token

_DEEPEST_ARM = 48  # an `else` is not put under an arm further right
_ELSE = len("else ")
Piece = list[Token]
_Chance = Callable[[Token, Token], bool]


@dataclass(slots=True)
class Line:
    """A line, or as many as its last string has; `blank`: an empty line comes before it."""

    level: int
    text: str
    comment: str = ""
    blank: bool = False
    padding: int = 0  # columns that put the comment in its column

    def with_comment(self, gap: int) -> str:
        """The text, then `gap` columns and the padding, then the comment."""
        return self.text + " " * (gap + self.padding) + self.comment if self.comment else self.text


def pieces(row: Row) -> list[Piece]:
    """The row, broken where its tokens say so."""
    starts = [index for index, token in enumerate(row.tokens) if token.breaks]
    return [row.tokens[start:end] for start, end in pairwise([0, *starts, len(row.tokens)])]


def break_long(group: Iterable[Row]) -> bool:
    """Break the rows that are too long where `outline` says so first; returns whether there were any."""
    return any([_break(row) for row in group])


def _break(row: Row) -> bool:
    if all(token.breaks for token in row.tokens if token.resort):
        return False
    margins = Margins.of(row)
    long = [piece for piece in pieces(row) if _is_long(piece, margins)]
    resort = min((token.resort for piece in long for token in piece[1:] if token.resort), default=0)
    for token in row.tokens:
        token.breaks |= 0 < token.resort == resort
    return resort > 0


def layout(row: Row) -> Iterator[Line]:
    """The lines of a row and of the comments above it."""
    level = row.level + row.closes
    yield from _comments(row.above, level, level * INDENT)
    margins = Margins.of(row)
    for piece in _fit(pieces(row), margins):
        is_first = piece[0] is row.tokens[0]
        if not is_first:
            yield from _comments(piece[0].above, row.level, margins.start(piece))
        if piece[0].text:
            yield Line(row.level, margins.text(piece), piece[-1].comment, row.blank and is_first)


def _comments(comments: Iterable[Comment], level: int, column: int) -> Iterator[Line]:
    return (Line(level, " " * column + comment.text, blank=comment.blank) for comment in comments)


# ---- where lines start -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Margins:
    """Columns where the lines of one row start; `free_from`: offset up to which its first line is not broken."""

    first: Token
    indent: int
    otherwise: int
    deeper: int
    free_from: int

    @classmethod
    def of(cls, row: Row) -> Margins:
        """The margins of a row whose `=` is in its column."""
        indent = column = row.level * INDENT
        for token in pieces(row)[0]:
            column += token.padding + token.spaces
            if token.is_arm and column <= _DEEPEST_ARM:
                otherwise = max(column - _ELSE, indent + INDENT)
                return cls(row.tokens[0], indent, otherwise, column + INDENT, token.start)
            column += len(token.text)
        return cls(row.tokens[0], indent, indent + INDENT, indent + INDENT, row.tokens[0].start)

    def start(self, piece: Sequence[Token]) -> int:
        """Where this piece of the row starts."""
        if piece[0] is self.first:
            return self.indent
        return self.otherwise if piece[0].is_else else self.deeper

    def text(self, piece: Sequence[Token]) -> str:
        """The piece on a line of its own."""
        parts = [" " * self.start(piece)]
        for token in piece:
            parts += [" " * self.space(piece, token), token.text]
        return "".join(parts)

    def space(self, piece: Sequence[Token], token: Token) -> int:
        """Columns before a token of a piece: what continues a broken line is not aligned."""
        padding = token.padding if piece[0] is self.first or piece[0].is_else else 0
        return padding + (token.spaces if token is not piece[0] else 0)

    def reach(self, piece: Sequence[Token], tokens: Iterable[Token], column: int) -> tuple[int, int]:
        """Where these tokens of a piece end, put at `column`, and the last column on the way."""
        furthest = column
        for token in tokens:
            column += self.space(piece, token) + len(token.text)
            if "\n" in token.text:
                furthest = max(furthest, column - len(token.text) + token.text.index("\n"))
                column = len(token.text.rpartition("\n")[2])
        return column, max(furthest, column)


# ---- breaking --------------------------------------------------------------


def _split(tokens: Sequence[Token], chance: _Chance) -> list[Piece]:
    parts = [[tokens[0]]]
    for before, token in pairwise(tokens):
        if chance(before, token):
            parts.append([])
        parts[-1].append(token)
    return parts


def _fit(parts: list[Piece], margins: Margins) -> list[Piece]:
    """The pieces, broken further where they are still too long."""
    for chance in (_after_comma, _before_clause, _before_part):
        if any(_is_long(piece, margins) for piece in parts):
            parts = [part for piece in parts for part in _fill(piece, margins, chance)]
    return parts


def _after_comma(before: Token, _: Token) -> bool:
    return before.text == ","


def _before_clause(_: Token, token: Token) -> bool:
    return token.text in {"when", "and", "or"}


def _before_part(_: Token, token: Token) -> bool:
    return token.is_part


def _is_long(piece: Piece, margins: Margins) -> bool:
    return margins.reach(piece, piece, margins.start(piece))[1] > WIDTH


def _fill(piece: Piece, margins: Margins, chance: _Chance) -> list[Piece]:
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


def _is_free(margins: Margins, chance: _Chance, before: Token, token: Token) -> bool:
    return token.start > margins.free_from and chance(before, token)
