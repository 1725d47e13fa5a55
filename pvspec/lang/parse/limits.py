"""Limits on the time and memory that a hostile text can cost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lark import Token, Tree

from pvspec.lang.diagnostics import Diagnostic, Label, SpecError, Work
from pvspec.lang.parse.errors import Refused
from pvspec.lang.source import Source, Span

MAX_NESTING = 32
"""Parentheses inside each other, in a guard or a number, or blocks, of which each `else if` counts as one more inside
the one before; a deeper one is refused (PV003)."""
MAX_NUMBER = (1 << 64) - 1
"""The largest number that a spec may contain; a larger one is refused (PV003)."""
MAX_WORD = 256
"""Characters of one word of a spec; a longer one is refused (PV003)."""
MAX_MADE = 4096
"""Arms and symbols that all `each` of a file make; more are refused before they are made (PV003)."""
MAX_TEXT = 16 << 20
"""Characters of one file of a spec; a longer one is refused (PV003)."""
_WORD = 45  # units of work that a word or a sign costs from here to the compiled module
_AGAIN = 20  # … that parsing it once more costs
_MADE = 4  # … that a character costs in each copy which `each` makes
_LONG = 4  # characters that cost a unit

_LEXEMES = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|\b[0-9][0-9A-Fa-fxX]*|[(){}]|\w+|[^\s\w]')


def check_length(source: Source, work: Work) -> None:
    """SpecError if a file is longer than MAX_TEXT, or asks for too much work."""
    if len(source.text) > MAX_TEXT:
        raise SpecError([Diagnostic("PV003", f"{source.name} is longer than {MAX_TEXT} characters")])
    work.add(len(source.text) // _LONG, f"reading {source.name}")


def check_limits(source: Source, text: str, work: Work) -> None:
    """Refused if a text, which is all of the source or part of it, exceeds the other limits above."""
    depth = words = 0
    blocks = _Blocks()
    cost = _WORD if text is source.text else _AGAIN
    for words, match in enumerate(_LEXEMES.finditer(text), 1):
        lexeme = match.group()
        depth += (lexeme == "(") - (lexeme == ")")
        if depth > MAX_NESTING:
            raise _refused(source, match, f"parentheses nested deeper than {MAX_NESTING}")
        if lexeme in _OF_BLOCKS and blocks.depth_after(lexeme) > MAX_NESTING:
            raise _refused(source, match, f"blocks nested deeper than {MAX_NESTING}")
        if "0" <= lexeme[0] <= "9" and (len(lexeme) > 20 or number(lexeme) > MAX_NUMBER):
            raise _refused(source, match, "a number of more than 64 bits")
        if len(lexeme) > MAX_WORD and lexeme[0] not in '#"':
            raise _refused(source, match, f"a word of more than {MAX_WORD} characters")
        if words % _MANY == 0:
            work.add(_MANY * cost, f"the words of {source.name}")
    work.add(words % _MANY * cost, f"the words of {source.name}")


_MANY = 1000  # words that are counted at once


class _Blocks:
    """How deep the block is that a text has come to."""

    def __init__(self) -> None:
        self.open: list[int] = []  # what each block that is open adds to the depth
        self.depth = 0
        self.before = ""
        self.closed = self.more = 0  # what the block before this added; what the next one adds for `else if`

    def depth_after(self, word: str) -> int:
        """The depth after one more of _OF_BLOCKS."""
        if word == "{":
            self.open.append(1 + self.more)
            self.depth += self.open[-1]
        elif word == "}" and self.open:
            self.closed = self.open.pop()
            self.depth -= self.closed
        if word != "else":
            self.more = self.closed if word == "if" and self.before == "else" else 0
        self.before = word
        return self.depth


_OF_BLOCKS = frozenset({"{", "}", "if", "else"})


def check_made(source: Source, text: str, tree: Tree[Token], work: Work) -> None:
    """Refused if all `each` of a tree make more than MAX_MADE arms and symbols, or too much work."""
    made = 0
    for each in _eachs(tree):
        _, names, *repeated = each.children
        assert isinstance(names, Tree)
        made += len(names.children) * len(repeated)
        if made > MAX_MADE:
            raise _too_many(source, each)
        body = text[names.meta.end_pos : each.meta.end_pos]
        work.add(_made(names, body), f"what `each` makes in {source.name}")


def _eachs(tree: Tree[Token]) -> Iterator[Tree[Token]]:
    """Every `each` of a tree: in items, and in blocks in and around them."""
    for part in tree.children:
        if isinstance(part, Tree) and part.data == "each":
            yield part
        elif isinstance(part, Tree) and (part.data in _AROUND or tree.data in ("start", *_AROUND)):
            yield from _eachs(part)


_AROUND = ("conditional", "alternative")


def _made(names: Tree[Token], body: str) -> int:
    """The work that a body for each of these names is; the names may stand in it many times."""
    length = sum(len(name) for name in names.children if isinstance(name, Token))
    return _MADE * (len(names.children) * len(body) + length * body.count("$"))


def _too_many(source: Source, each: Tree[Token]) -> Refused:
    first, last = each.meta.start_pos, each.meta.start_pos + len("each")

    def finding(start: int) -> Diagnostic:
        message = f"`each` makes more than {MAX_MADE} arms and symbols in this file"
        return Diagnostic("PV003", message, (Label(Span(source, start + first, start + last)),))

    return Refused(first, finding)


def number(lexeme: str) -> int:
    """The value of a number in the grammar's notation."""
    try:
        return int(lexeme, 0)
    except ValueError:
        return int(lexeme) if lexeme.isdigit() else 0  # leading zeros, or no digits at all: left to the lexer


def _refused(source: Source, match: re.Match[str], message: str) -> Refused:
    def finding(start: int) -> Diagnostic:
        return Diagnostic("PV003", message, (Label(Span(source, start + match.start(), start + match.end())),))

    return Refused(match.start(), finding)
