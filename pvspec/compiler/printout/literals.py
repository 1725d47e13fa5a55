"""Values of the engine as Python literals, laid out as a formatter would.

A value from a spec reaches the output only through `literal`, so a name or string in a spec remains data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

from pvspec.engine.value import Value

WIDTH = 120


class Name(str):
    """A name that the printed module defines; it is written as it is."""

    __slots__ = ()


Names: TypeAlias = Mapping[int, Name]
"""The values that have names in the printed module, by identity."""

_Parts: TypeAlias = tuple[str, list[tuple[str, object]], str]
_NO_NAMES: Names = {}


def literal(value: object, names: Names = _NO_NAMES, indent: int = 0, used: int = 0) -> str:
    """The value's text; `indent` is the indentation of its line, `used` the width of what else is on it, in columns."""
    return names[id(value)] if id(value) in names else _laid_out(value, names, indent, used)


def assignment(target: str, value: object, names: Names = _NO_NAMES) -> str:
    """`target = value`, at the left margin; `names` are for parts of the value."""
    return f"{target} = {_laid_out(value, names, 0, len(target) + 3)}"


def _laid_out(value: object, names: Names, indent: int, used: int) -> str:
    flat = _written_flat(value, names)
    if indent + used + len(flat) <= WIDTH:
        return flat
    opening, parts, closing = _parts(value, names)
    if not parts:
        return flat
    inner = " " * (indent + 4)
    lines = [f"{inner}{prefix}{literal(part, names, indent + 4, len(prefix) + 1)}," for prefix, part in parts]
    return "\n".join([opening, *lines, " " * indent + closing])


def _flat(value: object, names: Names) -> str:
    return names[id(value)] if id(value) in names else _written_flat(value, names)


def _written_flat(value: object, names: Names) -> str:
    match value:
        case bool() | int() | None:
            return repr(value)
        case str():
            return json.dumps(value)
        case bytes():
            return f'bytes.fromhex("{value.hex(" ")}")' if value else 'b""'
    opening, parts, closing = _parts(value, names)
    inner = ", ".join(prefix + _flat(part, names) for prefix, part in parts)
    alone = type(value) is tuple and len(parts) == 1
    return f"{opening}{inner}{',' if alone else ''}{closing}"


def _parts(value: object, names: Names) -> _Parts:
    """How a composite opens; its parts, with what precedes each; and how it closes."""
    match value:
        case Value():
            return f"{type(value).__name__}(", list(_fields(value, _defaults(value))), ")"
        case tuple() if hasattr(value, "_field_defaults"):
            return f"{type(value).__name__}(", list(_fields(value, value._field_defaults)), ")"
        case tuple():
            return "(", [("", part) for part in value], ")"
        case frozenset():
            return "frozenset(", [("", tuple(sorted(cast("frozenset[str]", value))))] if value else [], ")"
        case Mapping():
            return "{", [(f"{_flat(key, names)}: ", part) for key, part in value.items()], "}"
    return _written_flat(value, names), [], ""


def _fields(value: object, defaults: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The arguments for this value: positional for required fields, by name for others that are not the default."""
    for name in cast("tuple[str, ...]", getattr(value, "_fields")):  # noqa: B009 - not every object has it
        part: object = getattr(value, name)
        if name not in defaults:
            yield "", part
        elif part != defaults[name]:
            yield f"{name}=", part


def _defaults(value: Value) -> dict[str, object]:
    kind = type(value)
    return {name: getattr(kind, name) for name in kind._fields if hasattr(kind, name)}
