"""Text to syntax tree: the only door to lark.

Shapes alone are parsed here; what names and numbers mean is `check`'s business.
`limits` refuses what is too big, `errors` words lark's, `builder` makes our
tree of lark's.
"""

from __future__ import annotations

from lark.exceptions import UnexpectedInput

from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, Label, SpecError
from pvspec.lang.parse.builder import Builder
from pvspec.lang.parse.errors import syntax_error
from pvspec.lang.parse.grammar import WordsRunTogether, parser
from pvspec.lang.parse.limits import check_limits
from pvspec.lang.source import Source, Span

__all__ = ["parse"]


def parse(source: Source) -> ast.File:
    """The syntax tree of one file; SpecError if it does not follow the grammar."""
    check_limits(source)
    try:
        tree = parser().parse(source.text)
    except UnexpectedInput as error:
        raise SpecError([syntax_error(source, error)]) from None
    except WordsRunTogether as error:
        place = Label(Span(source, error.start, error.end), "part them by a space")
        raise SpecError([Diagnostic("PV002", "two words run together", (place,))]) from None
    return ast.File(tuple(Builder(source).items(tree.children)))
