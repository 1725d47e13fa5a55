"""Text to syntax tree; nothing else imports lark.

Only shapes are parsed here; `check` decides what names and numbers mean.
`limits` refuses what is too big, `characters` what cannot be seen, `errors` explains lark's errors, `recovery` finds
the valid parts of an invalid text, and `builder` makes our tree from lark's.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from lark import Token, Tree
from lark.exceptions import UnexpectedInput

from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, SpecError, Work
from pvspec.lang.parse.builder import Builder
from pvspec.lang.parse.characters import hidden_characters
from pvspec.lang.parse.errors import Refused, run_together, syntax_error
from pvspec.lang.parse.grammar import WordsRunTogether, parser
from pvspec.lang.parse.limits import check_length, check_limits, check_made
from pvspec.lang.source import Source
from pvspec.lang.target import ANY, Target

__all__ = ["Parsed", "parse", "parse_what_can_be"]


class Parsed(Value):
    """The items of a file that follow the grammar, and what is known about those that do not.

    `words`: all words in the parts left out, which may declare any of them. `lost_include`: they may include a file.
    """

    items: tuple[ast.Item, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    words: frozenset[str] = frozenset()
    lost_include: bool = False


def parse(source: Source, work: Work | None = None, target: Target = ANY) -> ast.File:
    """The syntax tree of one file; SpecError, with all errors, if it does not follow the grammar."""
    parsed = parse_what_can_be(source, work, target)
    if parsed.diagnostics:
        raise SpecError(parsed.diagnostics)
    return ast.File(parsed.items)


def parse_what_can_be(source: Source, work: Work | None = None, target: Target = ANY) -> Parsed:
    """All of a file that follows the grammar, and a finding for each part that does not.

    `work`: the meter of the spec that the file is a part of. SpecError if the file is too long.
    """
    work = work or Work()
    check_length(source, work)
    hidden = hidden_characters(source)
    grammatical = partial(_tree, source, work)
    try:
        return _built(source, target, [(grammatical(source.text), 0)], hidden)
    except Refused:
        from pvspec.lang.parse.recovery import recover  # a text that is right does not pay for it

        found = recover(source, grammatical)
    known = {diagnostic.labels[0].span.start for diagnostic in found.diagnostics if diagnostic.labels}
    others = [diagnostic for diagnostic in hidden if diagnostic.labels[0].span.start not in known]
    parsed = _built(source, target, found.trees, [*found.diagnostics, *others])
    return parsed.changed(words=frozenset(found.words), lost_include=found.lost_include)


def _built(
    source: Source, target: Target, trees: Iterable[tuple[Tree[Token], int]], found: Iterable[Diagnostic]
) -> Parsed:
    """What is made of trees, each of which begins at an offset, and all that is wrong."""
    builders = [(Builder(source, target, start), tree) for tree, start in trees]
    items = tuple(item for builder, tree in builders for item in builder.items(tree.children))
    return Parsed(items, (*found, *(finding for builder, _ in builders for finding in builder.found)))


def _tree(source: Source, work: Work, text: str) -> Tree[Token]:
    """lark's tree of a text, which is all of the source or part of it; Refused if it does not follow the grammar."""
    check_limits(source, text, work)
    try:
        tree = parser().parse(text)
    except UnexpectedInput as error:
        raise syntax_error(source, text, error, partial(_goes_further, work)) from None
    except WordsRunTogether as error:
        raise run_together(source, error) from None
    check_made(source, text, tree, work)
    return tree


def _goes_further(work: Work, text: str, at: int) -> bool:
    text = text[: at + _FURTHER]
    work.add(len(text), "its errors")
    try:
        parser().parse(text)
    except UnexpectedInput as error:
        return (len(text) if error.pos_in_stream is None else error.pos_in_stream) > at
    except WordsRunTogether as error:
        return error.start > at
    return True


_FURTHER = 200  # characters after an error that are read to see whether a change mends it
