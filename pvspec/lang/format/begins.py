"""Marks tokens with what begins there, as the syntax tree has it.

No construct is known by its name: what has braces of its own holds constructs there, each on a line, or the entries of
a list, which may share one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from pvspec.lang.format.tokens import Begins, Token
from pvspec.lang.parse import Construct

_ENTRIES = frozenset({"STRING", "value", "harmless_values", "value_field", "pad_field", "clobber_bit"})
"""Rules of a list's entries, besides what has commas between them."""


def mark(constructs: Iterable[Construct], tokens: Sequence[Token]) -> None:
    """Set `begins` of the tokens of a text that consists of these."""
    starts = [token.start for token in tokens]
    braces = ((token.text == "{") - (token.text == "}") for token in tokens)
    depths = list(accumulate(braces, initial=0))  # before each token
    for rule, start, end, within in constructs:
        first, after = bisect_right(starts, start) - 1, bisect_right(starts, end - 1)
        if within >= 0 and depths[first] == depths[bisect_right(starts, within) - 1]:
            continue
        _mark_rest(tokens[first:after])
        if tokens[after].text == ",":
            tokens[after + 1].begins = Begins.ENTRY
        elif rule != "NAME" and tokens[after].text != "}":
            tokens[after].begins = Begins.ENTRY if rule in _ENTRIES else Begins.CONSTRUCT
        if first and tokens[first - 1].text == "}":
            tokens[first].begins = Begins.CONSTRUCT


def _mark_rest(tokens: Sequence[Token]) -> None:
    """What a construct goes on with after a brace of its own."""
    depth = 0
    for token, following in pairwise(tokens):
        depth += (token.text == "{") - (token.text == "}")
        if token.text == "}" and depth == 0:
            following.begins = Begins.REST
