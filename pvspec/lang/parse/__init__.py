"""Text to syntax tree; nothing else imports lark.

Only shapes are parsed here; `check` decides what names and numbers mean.
`limits` refuses what is too big, `characters` what cannot be seen, `errors` explains lark's errors, `recovery` finds
the valid parts of an invalid text, `builder` makes our tree from lark's, for one kernel, `cutter` says what has to be
taken out of a text for that, and `constructs` says where its parts are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lark import Token, Tree
from lark.exceptions import UnexpectedInput

from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, SpecError, Work
from pvspec.lang.parse.builder import Builder
from pvspec.lang.parse.characters import hidden_characters
from pvspec.lang.parse.constructs import Construct, constructs
from pvspec.lang.parse.cuts import Chosen, Cut
from pvspec.lang.parse.cutter import cuts
from pvspec.lang.parse.errors import Refused, run_together, syntax_error
from pvspec.lang.parse.grammar import WordsRunTogether, parser
from pvspec.lang.parse.limits import check_length, check_limits, check_made
from pvspec.lang.source import Source, Span
from pvspec.lang.target import ANY, Target

__all__ = ["Built", "Chosen", "Construct", "Cut", "Outline", "Parsed", "parse", "parse_constructs", "parse_what_can_be"]


class Outline(Value):
    """What has to be known of a file before it is read for one kernel, whatever blocks it is in."""

    includes: tuple[ast.Include, ...]
    kernels: tuple[ast.Kernels, ...]
    machines: tuple[ast.Name, ...]


class Built(Value):
    """What a file says of one kernel.

    `diagnostics`: what is wrong with its conditions. `versions`, `machines`: what they ask for. `left_out`: what is not
    for this kernel.
    """

    source: Source
    items: tuple[ast.Item, ...]
    diagnostics: tuple[Diagnostic, ...]
    versions: tuple[ast.Version, ...]
    machines: tuple[ast.Name, ...]
    left_out: tuple[Span, ...]


class Parsed(Value):
    """The parts of a file that follow the grammar, for any kernel, and what is known about those that do not.

    `trees`: lark's, each with the offset that its positions count from. `words`: all words in the parts left out,
    which may declare any of them. `lost_include`: they may include a file.
    """

    source: Source
    trees: tuple[tuple[Tree[Token], int], ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    words: frozenset[str] = frozenset()
    lost_include: bool = False

    def outline(self) -> Outline:
        """The files that it includes, and the kernels and machines that it declares."""
        includes, kernels, machines = list[ast.Include](), list[ast.Kernels](), list[ast.Name]()
        for tree, start in self.trees:
            builder = Builder(self.source, ANY, start)
            for item in _items(tree):
                if item.data == "include":
                    includes.append(builder.include(item))
                elif item.data == "kernels":
                    kernels.append(builder.kernels(item))
                elif item.data == "machine":
                    machines += [builder.name(child) for child in item.children if isinstance(child, Token)]
        return Outline(tuple(includes), tuple(kernels), tuple(machines))

    def cuts(self, chosen: Chosen) -> list[Cut]:
        """What has to be taken out of the text so that it is for one kernel."""
        return [cut for tree, start in self.trees for cut in cuts(self.source, tree, start, chosen)]

    def built(self, target: Target) -> Built:
        """The items of the file that are for a kernel."""
        builders = [(Builder(self.source, target, start), tree) for tree, start in self.trees]
        items = tuple(item for builder, tree in builders for item in builder.items(tree.children))
        return Built(
            self.source,
            items,
            tuple(finding for builder, _ in builders for finding in builder.found),
            tuple(version for builder, _ in builders for version in builder.versions),
            tuple(name for builder, _ in builders for name in builder.machines),
            tuple(span for builder, _ in builders for span in builder.left_out),
        )


def parse(source: Source, work: Work | None = None, target: Target = ANY) -> ast.File:
    """The syntax tree of one file; SpecError, with all errors, if it does not follow the grammar."""
    parsed = parse_what_can_be(source, work)
    built = parsed.built(target)
    if parsed.diagnostics or built.diagnostics:
        raise SpecError((*parsed.diagnostics, *built.diagnostics))
    return ast.File(built.items)


def parse_what_can_be(source: Source, work: Work | None = None) -> Parsed:
    """All of a file that follows the grammar, and a finding for each part that does not.

    `work`: the meter of the spec that the file is a part of. SpecError if the file is too long.
    """
    work = work or Work()
    check_length(source, work)
    hidden = hidden_characters(source)
    grammatical = partial(_tree, source, work)
    try:
        return Parsed(source, ((grammatical(source.text), 0),), tuple(hidden))
    except Refused:
        from pvspec.lang.parse.recovery import recover  # a text that is right does not pay for it

        found = recover(source, grammatical)
    known = {diagnostic.labels[0].span.start for diagnostic in found.diagnostics if diagnostic.labels}
    others = [diagnostic for diagnostic in hidden if diagnostic.labels[0].span.start not in known]
    findings = (*found.diagnostics, *others)
    return Parsed(source, tuple(found.trees), findings, frozenset(found.words), found.lost_include)


def _items(tree: Tree[Token]) -> Iterator[Tree[Token]]:
    """The items of a file, whatever conditions they stand under."""
    for child in tree.children:
        if isinstance(child, Tree):
            if child.data in _CONDITIONS:
                yield from _items(child)
            else:
                yield child


_CONDITIONS = frozenset(["conditional", "alternative"])


def parse_constructs(source: Source, work: Work | None = None) -> Iterator[Construct]:
    """What a file is made of, for whichever kernel; SpecError, with all errors, if it does not follow the grammar."""
    work = work or Work()
    check_length(source, work)
    try:
        tree = _tree(source, work, source.text)
    except Refused:
        raise SpecError(parse_what_can_be(source, work).diagnostics) from None
    hidden = hidden_characters(source)
    if hidden:
        raise SpecError(hidden)
    return constructs(tree, source.text)


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
