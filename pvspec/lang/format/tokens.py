"""Text to tokens that know what the author put around them: spaces, line ends and comments.

Only for text that parses: there each of these tokens is one or more of the grammar's, never part of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

_LEXEME = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|[=<>!]=|<<|=>|->|\.\.|[\w$]+(?:\.\w+)*|[^\s\w]')
_WORD = re.compile(r"[A-Za-z_$]")
_TAB = 8  # columns


class Begins(Enum):
    """What begins at a token, as the syntax tree has it."""

    CONSTRUCT = "construct"  # has its own line
    ENTRY = "entry"  # of a list, may share its line
    REST = "rest"  # of a construct, after a closing brace


@dataclass(slots=True)
class Comment:
    """A comment on a line of its own; `blank`: an empty line comes before it."""

    text: str
    blank: bool


@dataclass(slots=True)
class Token:
    """A token, and what is around it; `constructs` says later what begins here."""

    text: str
    start: int  # offset in the source
    column: int  # where the author put it, counted from 0
    spaces: int  # columns before it, if it is on the line of the token before
    is_first: bool  # on its line
    blank: bool  # an empty line comes before it
    above: Sequence[Comment] = ()  # between the token before and this one
    comment: str = ""  # the comment that ends its line, and the columns before it
    begins: Begins | None = None


def scan(text: str) -> list[Token]:
    """All tokens, and after them an empty one that holds the comments at the end."""
    tokens: list[Token] = []
    above: list[Comment] = []
    end = column = 0
    for match in _LEXEME.finditer(text):
        lexeme, space = match.group(), text[end : match.start()]
        line_ends = space.count("\n")
        column = len(space.rpartition("\n")[2].expandtabs(_TAB)) + (0 if line_ends else column)
        blank = line_ends > 1 and (bool(above) or (bool(tokens) and tokens[-1].text != "{"))
        if not lexeme.startswith("#"):
            blank = blank and lexeme != "}"
            tokens.append(Token(lexeme, match.start(), column, _kept(space), line_ends > 0, blank, above or ()))
            above = [] if above else above
        elif tokens and not line_ends:
            tokens[-1].comment = " " * max(2, _kept(space)) + lexeme.rstrip()
        else:
            above.append(Comment(lexeme.rstrip(), blank))
        end = match.end()
        column = len(lexeme.rpartition("\n")[2]) + (0 if "\n" in lexeme else column)
    tokens.append(Token("", len(text), 0, 0, True, False, above))
    for before, token in pairwise(tokens):
        token.spaces = _spaces(before, token)
    return tokens


def _kept(space: str) -> int:
    """Columns of what the author put between two tokens; what is no space, or ends a line, is no column."""
    return space.count(" ") if space.strip(" ") == "" else 1


def _spaces(before: Token, token: Token) -> int:
    """As many as the author put there, but one at least where two tokens are apart, and none where they are not."""
    if token.text in {",", ")"} or before.text == "(" or "*" in {before.text, token.text}:
        return 0
    if token.text == ":" or (token.text == "(" and _WORD.match(before.text) and before.text not in _OPERATORS):
        return token.spaces
    return max(1, token.spaces)


_OPERATORS = frozenset({"and", "or", "not", "when", "if"})
