"""Columns: cells of neighbouring rows, and the comments behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pvspec.format.breaks import Line, pieces_of_author
from pvspec.format.rows import Row, width
from pvspec.format.tokens import Token

_WIDEST_FIRST_CELL = 32
_WIDEST_CELL = 48
_WIDEST_WITH_COMMENT = 80
_COMMENT_GAP = 2


def align_columns(table: Iterable[Row]) -> None:
    """Pad the tokens that begin a column."""
    group: list[Row] = []
    for row in table:
        if group and (row.is_parted or (row.kind, row.level) != (group[-1].kind, group[-1].level)):
            _align(group)
            group = []
        group += [row] if row.kind else []
    _align(group)


@dataclass(slots=True)
class _Cells:
    """The first line of a row; `ends`: where what is aligned ends; `to_come`: column tokens and cell widths, the next last."""

    ends: int
    last_width: int
    to_come: list[tuple[Token, int]]


def _align(group: Sequence[Row]) -> None:
    lines = [_cells(row) for row in group]
    for column in sorted({token.column for line in lines for token, _ in line.to_come}):
        limit = _WIDEST_FIRST_CELL if column == 1 else _WIDEST_CELL
        members = [line for line in lines if line.to_come and line.to_come[-1][0].column == column]
        for line in members:
            if line.last_width > limit:
                line.to_come.clear()
        _align_column([line for line in members if line.to_come])


def _align_column(lines: Sequence[_Cells]) -> None:
    start = max((line.ends + line.to_come[-1][0].spaces for line in lines), default=0)
    for line in lines:
        token, line.last_width = line.to_come.pop()
        token.padding = start - line.ends - token.spaces
        line.ends = start + line.last_width


def _cells(row: Row) -> _Cells:
    """The cells up to the author's first line end; behind a string of several lines nothing is aligned."""
    cells: list[list[Token]] = [[]]
    for token in pieces_of_author(row)[0]:
        if token.column:
            cells.append([])
        cells[-1].append(token)
        if "\n" in token.text:
            break
    first, *others = cells
    to_come = [(cell[0], width(cell) - cell[0].spaces) for cell in reversed(others)]
    return _Cells(width(first), width(first), to_come)


def align_comments(lines: Iterable[Line]) -> str:
    """The text of all lines, with the comments behind them in columns."""
    done = list(lines)
    groups: dict[int, list[Line]] = {}
    for line in done:
        if line.blank:
            _finish(groups, 0)
        _finish(groups, line.level + 1)
        if line.comment and "\n" not in line.text and len(line.text) <= _WIDEST_WITH_COMMENT:
            groups.setdefault(line.level, []).append(line)
    _finish(groups, 0)
    return "".join("\n" * line.blank + line.with_comment(_COMMENT_GAP) + "\n" for line in done)


def _finish(groups: dict[int, list[Line]], level: int) -> None:
    """Align what has been collected at this level and deeper."""
    for deeper in [x for x in groups if x >= level]:
        group = groups.pop(deeper)
        column = max(len(line.text) for line in group)
        for line in group:
            line.padding = column - len(line.text)
