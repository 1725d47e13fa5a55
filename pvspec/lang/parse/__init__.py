"""Text to syntax tree; nothing else imports lark.

Only shapes are parsed here; `check` decides what names and numbers mean.
`limits` refuses what is too big, `errors` explains lark's errors, `recovery` finds the valid parts of an invalid text,
and `builder` makes our tree from lark's.
"""

from __future__ import annotations

from functools import partial

from lark import Token, Tree
from lark.exceptions import UnexpectedInput

from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, SpecError
from pvspec.lang.parse.builder import Builder
from pvspec.lang.parse.errors import Refused, run_together, syntax_error
from pvspec.lang.parse.grammar import WordsRunTogether, parser
from pvspec.lang.parse.limits import check_length, check_limits, check_made
from pvspec.lang.source import Source

__all__ = ["Parsed", "parse", "parse_what_can_be"]


class Parsed(Value):
    """The items of a file that follow the grammar, and what is known about those that do not.

    `words`: all words in the parts left out, which may declare any of them. `lost_include`: they may include a file.
    """

    items: tuple[ast.Item, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    words: frozenset[str] = frozenset()
    lost_include: bool = False


def parse(source: Source) -> ast.File:
    """The syntax tree of one file; SpecError, with all errors, if it does not follow the grammar."""
    parsed = parse_what_can_be(source)
    if parsed.diagnostics:
        raise SpecError(parsed.diagnostics)
    return ast.File(parsed.items)


def parse_what_can_be(source: Source) -> Parsed:
    """All of a file that follows the grammar, and a finding for each part that does not.

    SpecError if the file is too long.
    """
    check_length(source)
    grammatical = partial(_tree, source)
    try:
        return Parsed(tuple(Builder(source).items(grammatical(source.text).children)))
    except Refused:
        from pvspec.lang.parse.recovery import recover  # a text that is right does not pay for it

        found = recover(source, grammatical)
    items = tuple(item for tree, start in found.trees for item in Builder(source, start).items(tree.children))
    return Parsed(items, tuple(found.diagnostics), frozenset(found.words), found.lost_include)


def _tree(source: Source, text: str) -> Tree[Token]:
    """lark's tree of a text, which is all of the source or part of it; Refused if it does not follow the grammar."""
    check_limits(source, text)
    try:
        tree = parser().parse(text)
    except UnexpectedInput as error:
        raise syntax_error(source, text, error, _goes_further) from None
    except WordsRunTogether as error:
        raise run_together(source, error) from None
    check_made(source, tree)
    return tree


def _goes_further(text: str, at: int) -> bool:
    try:
        parser().parse(text)
    except UnexpectedInput as error:
        return (len(text) if error.pos_in_stream is None else error.pos_in_stream) > at
    except WordsRunTogether as error:
        return error.start > at
    return True
