"""The grammar, loaded."""

from __future__ import annotations

import functools

from lark import Lark

from pvspec.resources import cache_directory, resource


@functools.cache
def parser() -> Lark:
    """The parser of grammar/pvspec.lark."""
    # Building the LALR tables costs more than everything else in a small compilation, so lark keeps them in a file.
    cache = cache_directory()
    grammar = resource("grammar", "pvspec.lark").read_text(encoding="utf-8")
    name = str(cache / "grammar.lark") if cache else False
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True, cache=name)


@functools.cache
def keywords() -> dict[str, str]:
    """What the grammar writes in quotes, by lark's name for it."""
    return {t.name: t.pattern.value for t in parser().terminals if t.pattern.type == "str"}
