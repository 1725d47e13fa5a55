"""Text to syntax tree: the only door to lark.

Shapes alone are parsed here; what names and numbers mean is `check`'s business.
`limits` refuses what is too big, `errors` words lark's, `builder` makes our
tree of lark's.
"""

from __future__ import annotations

from lark.exceptions import UnexpectedInput

from pvspec import syntax as ast
from pvspec.diagnostics import SpecError
from pvspec.parse.builder import Builder
from pvspec.parse.errors import syntax_error
from pvspec.parse.grammar import parser
from pvspec.parse.limits import check_limits
from pvspec.source import Source

__all__ = ["parse"]


def parse(source: Source) -> ast.File:
    """The syntax tree of one file; SpecError if it does not follow the grammar."""
    check_limits(source)
    try:
        tree = parser().parse(source.text)
    except UnexpectedInput as error:
        raise SpecError([syntax_error(source, error)]) from None
    return ast.File(tuple(Builder(source).items(tree.children)))
