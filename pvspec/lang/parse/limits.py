"""Limits on the time and memory that a hostile text can cost."""

from __future__ import annotations

import re

from lark import Token, Tree

from pvspec.lang.diagnostics import Diagnostic, Label, SpecError
from pvspec.lang.parse.errors import Refused
from pvspec.lang.source import Source, Span

MAX_NESTING = 32  # parentheses; the tree is walked recursively
MAX_NUMBER = (1 << 64) - 1
MAX_MADE = 4096  # arms and symbols that all `each` of a file make: 26 KB of text could make millions
MAX_TEXT = 16 << 20  # characters in a file

_LEXEMES = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|\b[0-9][0-9A-Fa-fxX]*|[()]')


def check_length(source: Source) -> None:
    """SpecError if a file is longer than MAX_TEXT."""
    if len(source.text) > MAX_TEXT:
        raise SpecError([Diagnostic("PV003", f"{source.name} is longer than {MAX_TEXT} characters")])


def check_limits(source: Source, text: str) -> None:
    """Refused if a text, which is all of the source or part of it, exceeds the other limits above."""
    depth = 0
    for match in _LEXEMES.finditer(text):
        lexeme = match.group()
        depth += (lexeme == "(") - (lexeme == ")")
        if depth > MAX_NESTING:
            raise _refused(source, match, f"parentheses nested deeper than {MAX_NESTING}")
        if lexeme[0].isdigit() and (len(lexeme) > 20 or number(lexeme) > MAX_NUMBER):
            raise _refused(source, match, "a number of more than 64 bits")


def check_made(source: Source, tree: Tree[Token]) -> None:
    """Refused if all `each` of a tree make more than MAX_MADE arms and symbols."""
    made = 0
    for item in tree.children:
        for part in item.children if isinstance(item, Tree) else ():
            if isinstance(part, Tree) and part.data == "each":
                _, names, *repeated = part.children
                assert isinstance(names, Tree)
                made += len(names.children) * len(repeated)
                if made > MAX_MADE:
                    raise _too_many(source, part)


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
