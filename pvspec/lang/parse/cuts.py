"""What has to be taken out of a text so that it says what one kernel gets: cuts, and those in guards."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from lark import Token, Tree

from pvspec.engine.value import Map
from pvspec.lang import syntax as ast
from pvspec.lang.parse.builder import Builder
from pvspec.lang.source import Source
from pvspec.lang.target import Target

ParseTree: TypeAlias = Tree[Token]
_RULES = """
    any_of all_of negated since before on_machine has_config target_is op_target op_noreturn cpu_has cpu_vendor
    cpu_number cpus kernel_has vulnerability backend_is nops_is within branches begins compares bits_of is_name truth
"""
GUARDS = frozenset(_RULES.split())
"""The grammar's rules for guards."""
_GROUPS = frozenset(["any_of", "all_of"])
_LEXEME = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|[\w$.]+|[^\s\w]')


class Cut(NamedTuple):
    """Characters [start, end) of a source that are taken out, and what comes in their place.

    `unwraps`: what is around them stays, as with the braces of a block whose guard holds.
    """

    start: int
    end: int
    text: str = ""
    unwraps: bool = False


class Chosen(NamedTuple):
    """A kernel: its version and machine, its configuration, if that is known, and the functions that only others have.

    `includes`: what becomes of the paths of included files; others are not included any more.
    """

    target: Target
    config: Mapping[str, bool] | None = None
    elsewhere: Collection[str] = ()
    includes: Mapping[str, str] = Map()


class _Decider(Builder):
    """A builder that knows the kernel's configuration."""

    def __init__(self, source: Source, chosen: Chosen, start: int) -> None:
        super().__init__(source, chosen.target, start)
        self._known = chosen.config

    def has_config(self, tree: ParseTree) -> Any:
        """Decided, if the configuration is known; what it lacks is not set."""
        return super().has_config(tree) if self._known is None else self._known.get(str(tree.children[0]), False)


class Cuts:
    """Cuts in a source, the tokens between which they are made, and what of its trees is not for the kernel."""

    def __init__(self, source: Source, tree: ParseTree, start: int, chosen: Chosen) -> None:
        self.chosen = chosen
        self.found: list[Cut] = []
        self.builder = _Decider(source, chosen, start)
        list(self.builder.items(tree.children))
        self.left_out = {(span.start, span.end) for span in self.builder.left_out}
        lexemes = [match for match in _LEXEME.finditer(source.text) if not match.group().startswith("#")]
        self.tokens = [*(match.group() for match in lexemes), ""]
        self.starts = [*(match.start() for match in lexemes), len(source.text)]
        self.ends = [*(match.end() for match in lexemes), len(source.text)]

    def cut(self, start: int, end: int, *, unwraps: bool = False) -> None:
        """Take out these characters."""
        self.found.append(Cut(start, end, "", unwraps))

    def replace(self, node: ast.Node, text: str) -> None:
        """Write something else there."""
        if node.span.text != text:
            self.found.append(Cut(node.span.start, node.span.end, text))

    def index(self, offset: int) -> int:
        """The index of the first token that begins at an offset, or after it."""
        return bisect_left(self.starts, offset)

    def own(self, tree: ParseTree) -> tuple[int, int]:
        """Where a construct begins and ends; a guard without brackets around it."""
        span = self.builder.span(tree)
        return span.start, span.end

    def outer(self, guard: ParseTree) -> tuple[int, int]:
        """… with them."""
        start, end = self.own(guard)
        first, after = self.index(start), self.index(end)
        while self.tokens[first - 1] == "(" and self.tokens[after] == ")":
            first, after = first - 1, after + 1
        return self.starts[first], self.ends[after - 1]

    # ---- guards

    def guard_of(self, tree: ParseTree, guard: ParseTree) -> None:
        """Take what is decided out of the guard of a construct that stays; all of it with its `when`."""
        value = self.builder.node(guard)
        start, end = self.outer(guard)
        if not isinstance(value, bool):
            self.guard(guard)
        elif tree.data in ("let", "config"):  # true or false: the language has no other word for it
            self.found.append(Cut(start, end, f"{'' if value else 'not '}on {self.chosen.target.machine}"))
        else:
            self.cut(self.starts[self.index(start) - 1], end)

    def guard(self, guard: ParseTree, is_top: bool = True) -> None:
        """Take what is decided out of a guard of which something is left."""
        if guard.data in _GROUPS:
            self._group(guard, is_top)
        elif guard.data == "negated":
            for part in trees(guard):
                self.guard(part, is_top=False)

    def _group(self, guard: ParseTree, is_top: bool) -> None:
        """… of `and` or `or`, each part with the word between it and its neighbour."""
        parts = list(trees(guard))
        kept = [not isinstance(self.builder.node(part), bool) for part in parts]
        places = list(map(self.outer, parts))
        for index, part in enumerate(parts):
            if kept[index]:
                self.guard(part, is_top=False)
            elif any(kept[:index]):
                self.cut(places[index - 1][1], places[index][1])
            else:
                self.cut(places[index][0], places[index + 1][0])
        if kept.count(True) == 1:
            last = parts[kept.index(True)]
            if self.outer(guard) != self.own(guard):
                if last.data != "negated":  # `not (not x)` needs them
                    self._cut_brackets(guard)
            elif is_top and last.data in _GROUPS:
                self._cut_brackets(last)

    def _cut_brackets(self, guard: ParseTree) -> None:
        start, end = self.own(guard)
        for index in (self.index(start) - 1, self.index(end)):
            self.cut(self.starts[index], self.ends[index])


def trees(tree: ParseTree) -> Iterator[ParseTree]:
    """The children of a tree that are trees, and not of nothing."""
    return (child for child in tree.children if isinstance(child, Tree) and not child.meta.empty)
