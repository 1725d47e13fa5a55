"""Lines that are too long: broken by depth, the outermost parts first, each on a line of its own."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

from pvspec.lang.format.lines import DEEPEST, INDENT, Line, Lines
from pvspec.lang.format.tokens import Begins, Token

_RANKS = {"else": 1, "=>": 1, "when": 2, "with": 2, "or": 3, "and": 3}
_AFTER_COMMA = 4


def broken(lines: Lines) -> Iterator[Line]:
    """The lines, with those that are too long broken where that is possible."""
    brackets = ((token.text in {"(", "{"}) - (token.text in {")", "}"}) for token in lines.tokens)
    depths = list(accumulate(brackets, initial=0))  # before each token
    for line in lines:
        if lines.is_long(line):
            yield from _parts(line, lines, depths)
        else:
            yield line


def _parts(line: Line, lines: Lines, depths: Sequence[int]) -> Iterator[Line]:
    """The parts of a line: one that is too long is broken wherever it is least deep, and what goes on is indented."""
    tokens, last = lines.tokens, lines.tokens[line.end - 1]
    places = [
        (depths[index], rank, index)
        for index in range(line.first + 1, line.end)
        if (rank := _rank(tokens[index - 1], tokens[index]))
    ]
    firsts, parts = [line.first], {line.first: line}

    def part_of(index: int) -> Line:
        return parts[firsts[bisect_right(firsts, index) - 1]]

    for _, group in groupby(sorted(places), key=lambda place: place[:2]):
        wholes = [(index, part_of(index)) for _, _, index in group]
        for index, whole in [(index, whole) for index, whole in wholes if lines.is_long(whole)]:
            part = part_of(index)
            column = line.row if tokens[index].begins is Begins.ENTRY else _deeper(whole, last)
            parts[index] = Line(index, part.end, column, column, line.row, line.origin, column)
            part.end = index
            insort(firsts, index)
    return (parts[first] for first in firsts)


def _deeper(line: Line, last: Token) -> int:
    """Where the parts of a line start; two steps before a brace, else they look like what it holds."""
    steps = 2 if last.text == "{" and line.indent == line.row else 1
    return min(line.indent + steps * INDENT, line.row + DEEPEST)


def _rank(before: Token, token: Token) -> int:
    """How early a line is broken before a token, among those that are as deep; 0: not at all."""
    if token.begins is not None:
        return 0 if token.begins is Begins.REST else 1
    return _AFTER_COMMA if before.text == "," else _RANKS.get(token.text, 0)
