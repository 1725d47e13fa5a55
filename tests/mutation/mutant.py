"""What a mutant is."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent


class Mutant(NamedTuple):
    """A change of one file: `name` says which, by function and not by line; `text` is the whole file, changed."""

    name: str
    file: str
    text: str


def replaced(text: str, node: ast.expr | ast.stmt, instead: str) -> str:
    """A file's text with something else in the place of one node of its tree."""
    data = text.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    start = starts[node.lineno - 1] + node.col_offset
    end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
    return (data[:start] + instead.encode() + data[end:]).decode()
