"""Python literals, laid out as a formatter would.

A value from a spec reaches the output through `literal` alone, so a name or
string in a spec stays data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pvspec.engine.spec import Value

WIDTH = 120


class Name(Value):
    """A name of the output's own making, written as it is."""

    text: str


class Call(Value):
    """`function(arguments)`; an argument may be ("keyword", value)."""

    function: str
    arguments: Sequence[Any]


class Keyword(Value):
    """`name=value` in a call."""

    name: str
    value: Any


def literal(value: Any, indent: int = 0, used: int = 0) -> str:
    """The value's text; `indent` is that of its line, `used` what else stands on the line, both in columns."""
    flat = _flat(value)
    if indent + used + len(flat) <= WIDTH:
        return flat
    opening, parts, closing = _parts(value)
    if not parts:
        return flat
    inner = " " * (indent + 4)
    lines = [f"{inner}{prefix}{literal(part, indent + 4, len(prefix) + 1)}," for prefix, part in parts]
    return "\n".join([opening, *lines, " " * indent + closing])


def assignment(target: str, value: Any) -> str:
    """`target = value`, at the left margin."""
    return f"{target} = {literal(value, 0, len(target) + 3)}"


def _flat(value: Any) -> str:
    match value:
        case Name():
            return value.text
        case bool() | int() | None:
            return repr(value)
        case str():
            return json.dumps(value)
        case bytes():
            return f'bytes.fromhex("{value.hex(" ")}")' if value else 'b""'
    opening, parts, closing = _parts(value)
    inner = ", ".join(prefix + _flat(part) for prefix, part in parts)
    return f"{opening}{inner}{',' if isinstance(value, tuple) and len(parts) == 1 else ''}{closing}"


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """How a composite opens, its parts with what stands before each, and how it closes."""
    match value:
        case Call():
            return f"{value.function}(", [_argument(part) for part in value.arguments], ")"
        case tuple():
            return "(", [("", part) for part in value], ")"
        case frozenset():
            return "frozenset(", [("", tuple(sorted(value)))] if value else [], ")"
        case Mapping():
            return "{", [(f"{_flat(key)}: ", part) for key, part in value.items()], "}"
    return _flat(value), [], ""


def _argument(part: Any) -> tuple[str, Any]:
    return (f"{part.name}=", part.value) if isinstance(part, Keyword) else ("", part)
