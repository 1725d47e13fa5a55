"""`each`: the same arms or symbols for several words."""

from __future__ import annotations

import re
from typing import TypeVar

from pvspec.lang import syntax as ast

T = TypeVar("T")
_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+)")  # `$reg` is not `$r` and then `eg`


def with_word(node: T, variable: str, word: str) -> T:
    """A copy of a node with `$variable` in names and strings replaced by `word`; spans are unchanged."""
    if isinstance(node, tuple):
        return tuple(with_word(part, variable, word) for part in node)  # type: ignore[return-value]
    if isinstance(node, ast.Name):
        return node.changed(text=_replaced(node.text, variable, word))
    if isinstance(node, ast.Text):
        return node.changed(value=_replaced(node.value, variable, word))
    if not isinstance(node, ast.Node):
        return node
    parts = {name: getattr(node, name) for name in node._fields if name != "span"}
    return node.changed(**{name: with_word(part, variable, word) for name, part in parts.items()})


def _replaced(text: str, variable: str, word: str) -> str:
    return _VARIABLE.sub(lambda found: word if found[1] == variable else found[0], text)
