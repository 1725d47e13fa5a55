"""Tokens to lines: the author's, but that each construct and each brace that is opened has its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pvspec.lang.format.tokens import Begins, Token

INDENT = 4  # columns per brace level, and of what goes on
WIDTH = 120  # columns of a line, its comment not counted
DEEPEST = 80  # columns that what goes on is put behind its first line, at most


@dataclass(slots=True)
class Line:
    """Tokens [first, end), the column where they start, and the one from which what goes on is indented.

    `row`: where the first line of the construct starts, `origin`: where its author put it. `joined`: the line goes on
    after a string of several lines. `above`: the column of the comments above it.
    """

    first: int
    end: int
    column: int
    indent: int
    row: int
    origin: int
    above: int
    joined: bool = False


class Lines:
    """The lines of a text; `reach[i]`: columns of the tokens before token i, all on one line."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        widths = (token.spaces + len(token.text.partition("\n")[0]) for token in tokens)
        self.reach = list(accumulate(widths, initial=0))
        self.begins = [True, *(_begins_line(before, token) for before, token in pairwise(tokens))]
        self.closing = _closing(tokens)
        self.stops = self._stops()

    def width(self, first: int, end: int) -> int:
        """Columns of tokens [first, end) on one line."""
        return self.reach[end] - self.reach[first] - self.tokens[first].spaces

    def is_long(self, line: Line) -> bool:
        """Whether a line is too long."""
        return line.column + self.width(line.first, line.end) > WIDTH

    def __iter__(self) -> Iterator[Line]:
        open_: list[int] = []  # where the braces around are closed
        lines: list[Line] = []
        opens = True
        for index, token in enumerate(self.tokens):
            closes = open_[-1:] == [index]
            if closes:
                open_.pop()
            if opens or closes or self._begins_construct(index):
                level = len(open_) * INDENT
                lines.append(Line(index, index, level, level, level, token.column, level + closes * INDENT))
            elif self.begins[index]:
                lines.append(self._goes_on(index, lines[-1]))
            elif "\n" in self.tokens[index - 1].text:
                lines.append(self._joined(index, lines[-1]))
            lines[-1].end = index + 1
            opens = token.text == "{" and not self._is_one_line(lines[-1], index, open_)
            if opens:
                open_.append(self.closing[index])
        return iter(lines)

    def _begins_construct(self, index: int) -> bool:
        begins = self.tokens[index].begins in {Begins.CONSTRUCT, Begins.ENTRY} or self.tokens[index - 1].text == "}"
        return begins and self.begins[index]

    def _goes_on(self, index: int, before: Line) -> Line:
        deeper = self.tokens[index].column - before.origin
        column = before.row + min(max(deeper, INDENT), DEEPEST)
        return Line(index, index, column, column, before.row, before.origin, column)

    def _joined(self, index: int, before: Line) -> Line:
        column = len(self.tokens[index - 1].text.rpartition("\n")[2]) + self.tokens[index].spaces
        return Line(index, index, column, before.indent, before.row, before.origin, 0, joined=True)

    def _is_one_line(self, line: Line, index: int, open_: Sequence[int]) -> bool:
        """Whether what begins with this brace stays on the line: the author's, and it fits."""
        closing = self.closing[index]
        end = min([self.stops[closing], *open_[-1:]])
        return closing < self.stops[index] and line.column + self.width(line.first, end) <= WIDTH

    def _stops(self) -> list[int]:
        """For each token the next one that begins a line, or is one of several lines."""
        stops = [len(self.tokens)] * len(self.tokens)
        for index in range(len(self.tokens) - 1, 0, -1):
            stop = self.begins[index] or "\n" in self.tokens[index].text
            stops[index - 1] = index if stop else stops[index]
        return stops


def _begins_line(before: Token, token: Token) -> bool:
    """Whether the author, or a construct, begins a line here; only a comment parts a brace from what is before it."""
    if token.text == "{" or token.begins is Begins.REST:
        return bool(before.comment or token.above)
    return token.is_first or token.begins is Begins.CONSTRUCT


def _closing(tokens: Sequence[Token]) -> dict[int, int]:
    """Where each brace is closed."""
    closing: dict[int, int] = {}
    open_: list[int] = []
    for index, token in enumerate(tokens):
        if token.text == "{":
            open_.append(index)
        elif token.text == "}":
            closing[open_.pop()] = index
    return closing


def written(lines: Iterable[Line], tokens: Sequence[Token]) -> str:
    """The text of the lines."""
    parts: list[str] = []
    for line in lines:
        first, *others = tokens[line.first : line.end]
        for comment in first.above:
            parts += ["\n" * comment.blank, " " * line.above, comment.text, "\n"]
        if line.joined:
            parts[-1] = " " * first.spaces
        elif first.text:
            parts += ["\n" * first.blank, " " * line.column]
        parts += [first.text, *(" " * token.spaces + token.text for token in others)]
        parts += [tokens[line.end - 1].comment, "\n" * bool(first.text)]
    return "".join(parts)
