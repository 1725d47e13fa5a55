"""Writing JSON piece by piece: a list of a million sites need never be in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeAlias

from pvspec.support.json_data import Json

Streamed: TypeAlias = "Json | Iterator[Json]"

_string = json.encoder.encode_basestring_ascii
_STEP = "  "
_PIECE = 1 << 16  # characters


def pieces(value: Mapping[str, Streamed]) -> Iterator[str]:
    """The text of an object, as `json.dumps` has it with indentation and sorted keys; an iterator is a list.

    It is ASCII. What cannot be a character, half of a surrogate pair, is escaped as the commands escape it in texts:
    `\\\\udc80` in place of the byte 80, since many programs refuse JSON with the half of a pair in it.
    """
    waiting, size = list[str](), 0
    for part in _object_parts(value):
        waiting.append(part)
        size += len(part)
        if size > _PIECE:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)


def _object_parts(value: Mapping[str, Streamed]) -> Iterator[str]:
    before = "{\n"
    for key in sorted(value):
        item = value[key]
        yield f"{before}{_STEP}{_quoted(key)}: "
        yield from _list_parts(item) if isinstance(item, Iterator) else (_text(item, f"\n{_STEP}"),)
        before = ",\n"
    yield "\n}" if value else "{}"


def _list_parts(items: Iterable[Json]) -> Iterator[str]:
    line = f"\n{_STEP * 2}"
    before = f"[{line}"
    for item in items:
        yield before + _text(item, line)
        before = f",{line}"
    yield "[]" if before[0] == "[" else f"\n{_STEP}]"


def _text(value: Json, line: str) -> str:
    """A value whose lines begin with `line`, a line break and spaces."""
    if isinstance(value, str):
        return _quoted(value)
    if value is None or value is True or value is False:
        return _WORDS[value]
    if isinstance(value, int):
        return str(value)
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    below = line + _STEP
    if isinstance(value, dict):
        parts: list[str] = []
        for key, before in _members(tuple(value), below):
            item = value[key]
            if isinstance(item, str) and item.isascii():  # most are; a call for each would cost a fifth of the time
                parts += before, _string(item)
            else:
                parts += before, _text(item, below)
        return f"{''.join(parts)}{line}}}"
    return f"[{below}{f',{below}'.join([_text(item, below) for item in value])}{line}]"


_WORDS = {None: "null", True: "true", False: "false"}


def _quoted(text: str) -> str:
    return _string(text if text.isascii() else text.encode("utf-8", "backslashreplace").decode())


@lru_cache(256)
def _members(keys: tuple[str, ...], line: str) -> list[tuple[str, str]]:
    """The keys of an object in their order, each with what is before its value."""
    return [(key, f"{',' if number else '{'}{line}{_quoted(key)}: ") for number, key in enumerate(sorted(keys))]
