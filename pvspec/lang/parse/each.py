"""`each`: the same arms for several words."""

from __future__ import annotations

from typing import TypeVar

from pvspec.lang import syntax as ast

T = TypeVar("T")


def with_word(node: T, variable: str, word: str) -> T:
    """A copy of a node in which `word` stands wherever names and strings had `variable`; spans stay."""
    if isinstance(node, tuple):
        return tuple(with_word(part, variable, word) for part in node)  # type: ignore[return-value]
    if isinstance(node, ast.Name):
        return node.changed(text=node.text.replace(variable, word))
    if isinstance(node, ast.Text):
        return node.changed(value=node.value.replace(variable, word))
    if not isinstance(node, ast.Node):
        return node
    parts = {name: getattr(node, name) for name in node._fields if name != "span"}
    return node.changed(**{name: with_word(part, variable, word) for name, part in parts.items()})
