"""Texts derived from the grammar of the language itself, so that a new word is tried when it comes."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

from lark import Lark
from lark.grammar import NonTerminal, Symbol

from pvspec.support.paths import resource
from tests.fuzz.hostile import Hostile

_TOKENS = 3000  # of a text; then it ends as soon as it can
_NAMES = (
    "A",
    "B",
    "s",
    "t",
    "o",
    "p",
    "b",
    "c",
    "f",
    "x",
    "site",
    "len",
    "pv",
    "x86_64",
    "rax",
    "eax",
    "flags",
    "wide",
    "null",
    "target",
    "any",
    "$r",
    "i386",
)
_SAMPLES: dict[str, tuple[str, ...]] = {
    "NAME": _NAMES,
    "INT": ("0", "1", "2", "5", "8", "32", "64", "255", "0x1000", "0xffffffffffffffff", "9" * 25, "4096"),
    "STRING": (
        '"90"',
        '"nop"',
        '"mov eax, 1"',
        '"e8 00 00 00 00"',
        '".t"',
        '"a"',
        '""',
        '"jmp x; x:"',
        '"pv_*"',
        '"call s"',
    ),
    "LONG_STRING": ('"""nop; nop"""', '""""""'),
    "TYPE": ("u8", "u16", "u32", "u64", "rel32", "u1", "u15", "rel62", "u999"),
    "READ_TYPE": ("u8", "s32", "u64"),
    "COMPARE": ("==", "<=", ">=", "<", ">"),
}


@cache
def _rules() -> dict[str, list[list[Symbol]]]:
    """The expansions of each rule, the shortest derivation first."""
    parser = Lark(
        resource("grammar", "pvspec.lark").read_text(encoding="utf-8"), parser="lalr", maybe_placeholders=False
    )
    made: dict[str, list[list[Symbol]]] = defaultdict(list)
    for rule in parser.rules:
        made[str(rule.origin.name)].append(list(rule.expansion))
    least = _least(made)
    for expansions in made.values():
        expansions.sort(key=lambda expansion: sum(_size(least, symbol) for symbol in expansion))
    return made


def _size(least: dict[str, int], symbol: Symbol) -> int:
    return least.get(str(symbol.name), 1 << 20) if isinstance(symbol, NonTerminal) else 1


def _least(rules: dict[str, list[list[Symbol]]]) -> dict[str, int]:
    """How many tokens each rule takes at least."""
    least: dict[str, int] = {}
    for _ in rules:
        for name, expansions in rules.items():
            least[name] = min(sum(_size(least, symbol) for symbol in expansion) for expansion in expansions)
    return least


@cache
def _literals() -> dict[str, tuple[str, ...]]:
    parser = Lark(
        resource("grammar", "pvspec.lark").read_text(encoding="utf-8"), parser="lalr", maybe_placeholders=False
    )
    literal = {
        str(terminal.name): (terminal.pattern.value,) for terminal in parser.terminals if terminal.pattern.type == "str"
    }
    options = {
        str(t.name): tuple(t.pattern.value.strip("(?:)").split("|")) for t in parser.terminals if t.pattern.type == "re"
    }
    return {**options, **literal, **_SAMPLES}


def derived(h: Hostile) -> str:
    """A text of some items."""
    words: list[str] = []
    rules, literals = _rules(), _literals()
    names = h.random.sample(_NAMES, 6)
    todo: list[Symbol] = [NonTerminal("_item")] * max(1, h.times(4, 40))
    while todo:
        symbol = todo.pop()
        if isinstance(symbol, NonTerminal):
            expansions = rules[str(symbol.name)]
            brief = len(words) + len(todo) > _TOKENS or h.random.random() < 0.3
            todo += reversed(expansions[0] if brief else h.random.choice(expansions))
        elif symbol.name == "NAME":
            words.append(h.random.choice(names))
        else:
            words.append(h.random.choice(literals[str(symbol.name)]))
    return " ".join(words)
