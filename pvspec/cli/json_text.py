"""Writing JSON piece by piece: a list of a million sites need never be in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

from pvspec.support.json_data import Json


class Rows:
    """The members of a list, each as JSON on one line: for so many that one by one they would take too long."""

    def __init__(self, rows: Iterator[str]) -> None:
        """Each is what `json.dumps` would make of it, its keys in order; they are consumed once."""
        self.rows = rows


Streamed: TypeAlias = "Json | Rows | Iterator[Json]"

_string = json.encoder.encode_basestring_ascii
_STEP = "  "
_BELOW = f"\n{_STEP * 2}"  # before each member of a list
_ITEMS = 256  # that are written at once
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
        match item:
            case Rows():
                yield from _listed(item.rows)
            case Iterator():
                yield from _listed(_text(part, _BELOW) for part in item)
            case _:
                yield _text(item, f"\n{_STEP}")
        before = ",\n"
    yield "\n}" if value else "{}"


def _listed(texts: Iterator[str]) -> Iterator[str]:
    before = f"[{_BELOW}"
    while part := list(islice(texts, _ITEMS)):
        yield before + f",{_BELOW}".join(part)
        before = f",{_BELOW}"
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
