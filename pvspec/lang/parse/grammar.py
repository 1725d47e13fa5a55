"""The grammar, loaded."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator

from lark import Lark, Token
from lark.lark import PostLex

from pvspec.support.paths import cache_directory, resource


class WordsRunTogether(Exception):
    """Two words with nothing between them, as in `bits32`: lark alone would read `bits 32`."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(start, end)
        self.start = start
        self.end = end


class _WordsApart(PostLex):
    """Lets a stream of tokens pass in which words stand apart."""

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
    """The parser of grammar/pvspec.lark."""
    # Building the LALR tables costs more than everything else in a small compilation, so lark keeps them in a file.
    cache = cache_directory()
    grammar = resource("grammar", "pvspec.lark").read_text(encoding="utf-8")
    # Two checkouts must not take turns in overwriting one file.
    name = str(cache / f"grammar-{zlib.crc32(grammar.encode()):08x}.lark") if cache else False
    return Lark(
        grammar,
        parser="lalr",
        propagate_positions=True,
        maybe_placeholders=True,
        postlex=_WordsApart(),
        cache=name,
    )


@functools.cache
def keywords() -> dict[str, str]:
    """What the grammar writes in quotes, by lark's name for it."""
    return {t.name: t.pattern.value for t in parser().terminals if t.pattern.type == "str"}
