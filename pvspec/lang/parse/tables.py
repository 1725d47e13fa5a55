"""Lark's LALR tables as JSON: building them costs more than everything else in a small compilation.

Lark's own cache is a pickle, which can run code when it is read. Its standalone parsers take the same tables as plain
dicts; only the two calls that make those parsers are used here: `memo_serialize` and `_load_from_dict`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from lark import Lark
from lark.grammar import Rule
from lark.lark import PostLex
from lark.lexer import TerminalDef

Dicts = dict[str, Any]
"""lark's objects as plain data."""

_OPTIONS: Dicts = {
    "parser": "lalr",
    "lexer": "contextual",
    "priority": "normal",
    "propagate_positions": True,
    "maybe_placeholders": True,
}


def build(grammar: str, postlex: PostLex) -> Lark:
    """The parser of a grammar, from scratch."""
    return Lark(grammar, postlex=postlex, **_OPTIONS)


def dump(parser: Lark) -> bytes | None:
    """The tables of a parser that was built here; None if this version of lark has unknown tables."""
    with suppress(AttributeError, LookupError, TypeError, ValueError):
        data, memo = parser.memo_serialize([TerminalDef, Rule])
        data["options"] = None  # these contain objects, and are restored from the grammar
        table = data["parser"]["parser"]
        table["tokens"] = _listed(table["tokens"])
        table["states"] = [_packed(actions) for actions in _listed(table["states"])]
        return json.dumps([data, _listed(memo)], separators=(",", ":")).encode()
    return None


def load(tables: bytes, postlex: PostLex) -> Lark | None:
    """The parser whose tables `dump` returned; None for anything else."""
    with suppress(Exception):  # lark may raise any exception for an invalid table
        data, memo = json.loads(tables)
        for item in memo:
            if item["__type__"] == "Rule":
                item["options"]["empty_indices"] = tuple(item["options"]["empty_indices"])
        table = data["parser"]["parser"]
        reductions = [(_REDUCE, {"@": number}) for number in range(len(memo))]
        table["tokens"] = dict(enumerate(table["tokens"]))
        table["states"] = {
            state: {
                token: (_SHIFT, n) if n >= 0 else reductions[~n] for token, n in zip(row[::2], row[1::2], strict=True)
            }
            for state, row in enumerate(table["states"])
        }
        data["options"] = _OPTIONS
        parser: Lark = Lark._load_from_dict(data, dict(enumerate(memo)), postlex=postlex)  # type: ignore[no-untyped-call]
        return parser
    return None


def _listed(numbered: dict[int, Any]) -> list[Any]:
    """The values of a dict whose keys count from 0: JSON has no numbers as keys."""
    return [numbered[number] for number in range(len(numbered))]


def _packed(actions: dict[int, tuple[int, Any]]) -> list[int]:
    """A state's actions, token by token: the token, then the state to shift to or the complement of a rule's number.

    They are one flat list, because all states together have ten thousand of these pairs.
    """
    row = []
    for token, (action, argument) in actions.items():
        row += [token, argument if action == _SHIFT else ~argument["@"]]
    return row


_SHIFT, _REDUCE = 0, 1  # as lark.parsers.lalr_analysis writes them
