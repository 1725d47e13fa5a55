"""Text to tokens that know the comments around them.

Only for text that parses: there each of these tokens is one or more of the grammar's, never part of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LEXEME = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|[=<>]=|<<|=>|->|\.\.|[\w$]+|[^\s\w]')


@dataclass(slots=True)
class Comment:
    """A comment on a line of its own; `blank`: an empty line comes before it."""

    text: str
    blank: bool


@dataclass(slots=True)
class Token:
    """A token, what is around it, and how it is laid out.

    The fields after `comment` are set by `outline`, `spaces` by `rows`, `padding` by `align`
    and `breaks` by `rows` and `breaks`.
    """

    text: str
    start: int  # offset in the source
    line_ends: int = 0  # before it, since the token or comment before
    above: Sequence[Comment] = ()  # between the token before and this one
    comment: str = ""  # the comment that ends its line

    kind: str = ""  # what row begins here
    ends_row: bool = False
    is_entry: bool = False  # of a list in braces
    is_call: bool = False  # the parenthesis after it is tight
    is_else: bool = False  # between two arms
    resort: int = 0  # rows that are too long are broken before it, those of lower number first; 0: only later
    is_arm: bool = False  # the first of a chain
    is_part: bool = False  # a part of a case begins here
    column: int = 0  # the column that begins here, counted from 1
    gap: int = 1  # spaces before it where nothing is tight
    spaces: int = 0  # spaces before it on one line
    padding: int = 0  # further spaces that put it in its column
    breaks: bool = False  # it begins a line within its row


def scan(text: str) -> list[Token]:
    """All tokens, and after them an empty one that holds the comments at the end."""
    tokens: list[Token] = []
    above: list[Comment] = []
    end = 0
    for match in _LEXEME.finditer(text):
        lexeme, start = match.group(), match.start()
        line_ends = text.count("\n", end, start)
        end = match.end()
        if not lexeme.startswith("#"):
            tokens.append(Token(lexeme, start, line_ends, above or ()))
            above = [] if above else above
        elif tokens and not line_ends:
            tokens[-1].comment = lexeme.rstrip()
        else:
            above.append(Comment(lexeme.rstrip(), line_ends > 1))
    return [*tokens, Token("", len(text), text.count("\n", end), above)]
