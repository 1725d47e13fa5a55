"""Columns: cells of neighbouring rows, and the comments after them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from pvspec.lang.format.breaks import Line, Margins, break_long, pieces
from pvspec.lang.format.rows import INDENT, Row, end_column
from pvspec.lang.format.tokens import Token

_WIDEST_CELL = 56
_WIDEST_WITH_COMMENT = 80
_GAP = 2
_NUMBERED = frozenset({"op", "feature"})  # nothing is to the left of where the widest number ends


def align_columns(table: Iterable[Row]) -> None:
    """Pad the tokens that begin a column, and break rows that are then too long.

    A broken row may put wider cells into a column and so make others too long. No row is ever joined again, and
    widest cells bound how often a column can grow.
    """
    section = 0
    numbered: list[tuple[tuple[str, int, int], Row]] = []
    for row in table:
        section += row.kind == "case" and row.is_parted
        numbered.append(((row.kind, row.level, section), row))
    for (kind, _, _), group in groupby(numbered, key=lambda pair: pair[0]):
        if kind:
            _settle([row for _, row in group])


def _settle(group: Sequence[Row]) -> None:
    while break_long(group):  # a cell that is too long by itself widens no column
        pass
    _align(group)
    while break_long(group):
        _align(group)


@dataclass(slots=True)
class _Cells:
    """A line's cells: the tokens of the last one aligned, where they start and end, and the cells to its right.

    The next cell is the last in `to_come`.
    """

    last: list[Token]
    start: int
    end: int
    to_come: list[list[Token]]
    is_aligned: bool = True

    @property
    def is_wide(self) -> bool:
        return self.end - self.start > _WIDEST_CELL and not any("\n" in token.text for token in self.last)

    def is_at(self, column: int) -> bool:
        return self.is_aligned and bool(self.to_come) and self.to_come[-1][0].column == column

    def put(self, column: int) -> None:
        """Align the next cell at this column of the line."""
        self.last = self.to_come.pop()
        self.last[0].padding = column - self.end - self.last[0].spaces
        self.start, self.end = column, end_column(self.last, self.end)


def _align(group: Sequence[Row]) -> None:
    for token in (token for row in group for token in row.tokens):
        token.padding = 0
    heads = [_cells(pieces(row)[0], row.level * INDENT) for row in group]
    _align_column(heads, 1)
    floor = max(head.end for head in heads) + _GAP if group[0].kind in _NUMBERED else 0
    tails = [
        _cells(piece, otherwise)
        for row, head in zip(group, heads, strict=True)
        if head.is_aligned
        for otherwise in [Margins.of(row).otherwise]  # once per row: it looks at all of the row's first line
        for piece in pieces(row)[1:]
        if piece[0].is_else
    ]
    lines = heads + tails
    for column in sorted({cell[0].column for line in lines for cell in line.to_come}):
        _align_column(lines, column, floor)


def _align_column(lines: Iterable[_Cells], column: int, floor: int = 0) -> None:
    members = [line for line in lines if line.is_at(column)]
    for line in members:
        line.is_aligned = not line.is_wide
    aligned = [line for line in members if line.is_aligned]
    start = max((line.end + line.to_come[-1][0].spaces for line in aligned), default=0)
    for line in aligned:
        line.put(max(start, floor))


def _cells(piece: Sequence[Token], start: int) -> _Cells:
    """The cells of a line, only the first aligned yet; a line whose columns are out of order is one cell."""
    cells: list[list[Token]] = [[]]
    column = 0
    for index, token in enumerate(piece):
        if token.column > column and not (index == 0 and token.is_else):
            column = token.column
            cells.append([])
        cells[-1].append(token)
    first, *others = cells
    return _Cells(first, start, end_column(first, start - piece[0].spaces), others[::-1])


def align_comments(lines: Iterable[Line]) -> str:
    """The text of all lines, with the comments after them in columns."""
    done = list(lines)
    groups: dict[int, list[Line]] = {}
    for line in done:
        _finish(groups, 0 if line.blank else line.level + 1)
        if line.comment and "\n" not in line.text and len(line.text) <= _WIDEST_WITH_COMMENT:
            groups.setdefault(line.level, []).append(line)
    _finish(groups, 0)
    return "".join("\n" * line.blank + line.with_comment(_GAP) + "\n" for line in done)


def _finish(groups: dict[int, list[Line]], level: int) -> None:
    """Align what has been collected at this level and deeper."""
    for deeper in [x for x in groups if x >= level]:
        group = groups.pop(deeper)
        column = max(len(line.text) for line in group)
        for line in group:
            line.padding = column - len(line.text)
