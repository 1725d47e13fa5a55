"""What a text is made of: a grammar's rules and words, and where each begins and ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lark import Token, Tree


class Construct(NamedTuple):
    """A rule or a word of the grammar, [start, end) in the text; `within`: where what it is a part of starts."""

    rule: str
    start: int
    end: int
    within: int


def constructs(tree: Tree[Token], text: str) -> Iterator[Construct]:
    """All parts of a tree, but nothing of what has no braces: there lines begin nowhere."""
    left: list[tuple[Tree[Token], int]] = [(tree, -1)]
    while left:
        parent, within = left.pop()
        for child in parent.children:
            if isinstance(child, Token):
                yield Construct(child.type, child.start_pos or 0, child.end_pos or 0, within)
            elif child is not None and not child.meta.empty:
                start, end = child.meta.start_pos, child.meta.end_pos
                yield Construct(child.data, start, end, within)
                if text.find("{", start, end) >= 0:
                    left.append((child, start))
