"""The grammar, loaded."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import lark
from lark import Lark, Token
from lark.lark import PostLex

from pvspec.lang.parse import tables
from pvspec.support.cache import user_cache
from pvspec.support.paths import resource

_MAX_TABLES = 4
"""Parser's tables that the cache keeps, for several versions of pvspec, lark and Python that are used in turn; the
oldest are removed."""


class WordsRunTogether(Exception):
    """Two words without a space between them, as in `bits32`, which lark itself would read as `bits 32`."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(start, end)
        self.start = start
        self.end = end


class _WordsApart(PostLex):
    """Passes tokens on, and requires spaces between words."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        end, start, word = -1, 0, False
        for token in stream:
            is_word = token[0].isalnum() or token[0] in "_$"
            if word and is_word and token.start_pos == end:
                raise WordsRunTogether(start, token.end_pos or end)
            start, end, word = token.start_pos or 0, token.end_pos or 0, is_word
            yield token


@functools.cache
def parser() -> Lark:
    """The parser of grammar/pvspec.lark; its tables come from the user's cache if they are there."""
    grammar = resource("grammar", "pvspec.lark").read_bytes()
    cache, key = user_cache(), _key(grammar)
    data = cache.get("tables", key)
    loaded = tables.load(data, _WordsApart()) if data is not None else None
    if loaded is not None:
        return loaded
    built = tables.build(grammar.decode(), _WordsApart())
    data = tables.dump(built)
    if data is not None:
        cache.put("tables", key, data, _MAX_TABLES)
    return built


def _key(grammar: bytes) -> str:
    """A cache key that changes with everything that the tables depend on."""
    digest = hashlib.sha256(f"{lark.__version__} {sys.version_info[:2]} ".encode())
    for part in (grammar, Path(tables.__file__).read_bytes()):
        digest.update(part)
    return digest.hexdigest()[:32]


@functools.cache
def keywords() -> dict[str, str]:
    """What the grammar writes in quotes, by lark's names."""
    return {t.name: t.pattern.value for t in parser().terminals if t.pattern.type == "str"}
