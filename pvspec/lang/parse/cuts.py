"""What has to be taken out of a text so that it says what one kernel gets, and nothing of others."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from lark import Token, Tree

from pvspec.engine.value import Map
from pvspec.lang import syntax as ast
from pvspec.lang.parse.builder import Builder
from pvspec.lang.source import Source
from pvspec.lang.target import Target, version_text

_Tree: TypeAlias = Tree[Token]
_LEXEME = re.compile(r'#[^\n]*|"""[\s\S]*?"""|"[^"\n]*"|[\w$.]+|[^\s\w]')
_GROUPS = frozenset(["any_of", "all_of"])
_GUARDS = _GROUPS | {
    *("negated", "since", "before", "on_machine", "has_config", "target_is", "op_target", "op_noreturn"),
    *("cpu_has", "cpu_vendor", "cpu_number", "cpus", "kernel_has", "vulnerability", "backend_is", "nops_is"),
    *("within", "branches", "begins", "compares", "bits_of", "is_name", "truth"),
}
_VANISHING = frozenset(["machine", "cmdline", "test"])  # blocks that mean nothing when they are empty


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

    def has_config(self, tree: _Tree) -> Any:
        """Decided, if the configuration is known; what it lacks is not set."""
        return super().has_config(tree) if self._known is None else self._known.get(str(tree.children[0]), False)


class _Block(NamedTuple):
    """A block with a guard, and what is there instead of it."""

    condition: _Tree
    items: list[_Tree]
    rest: _Tree | None

    @classmethod
    def of(cls, tree: _Tree) -> _Block:
        """The parts of a `conditional`."""
        condition, *items = _trees(tree)
        rest = items.pop() if items and items[-1].data == "alternative" else None
        return cls(condition, items, rest)


class Cutter:
    """One tree of a source and its cuts: what the builder leaves out, and what it decides of guards."""

    def __init__(self, source: Source, chosen: Chosen, start: int) -> None:
        self.chosen = chosen
        self.builder = _Decider(source, chosen, start)
        self.cuts: list[Cut] = []
        lexemes = [match for match in _LEXEME.finditer(source.text) if not match.group().startswith("#")]
        self._tokens = [match.group() for match in lexemes]
        self._starts = [match.start() for match in lexemes]
        self._ends = [match.end() for match in lexemes]
        self._gone = set[int]()  # separators, by their index

    def visit(self, tree: _Tree) -> None:
        """Find what is taken out of a construct that stays."""
        for child in _trees(tree):
            if child.data == "only":
                self._condition(child)
            elif child.data in _GUARDS:
                self._guard_of(tree, child)
            elif not self._left(child) or (tree.data == "policy" and self._is_elsewhere(child)):
                self._item(child)
            else:
                self._visit_part(child)

    def _visit_part(self, tree: _Tree) -> None:
        if tree.data == "conditional":
            self._conditional(tree)
        elif tree.data == "kernels":
            self._replace(
                self.builder.kernels(tree),
                f"kernels {version_text(self.chosen.target.version)} on {self.chosen.target.machine}",
            )
        elif tree.data == "include":
            path = self.builder.include(tree).path
            self._replace(path, self.chosen.includes[path.value])
        else:
            if tree.data == "machine":
                self._machine(tree)
            self.visit(tree)

    def _left(self, tree: _Tree) -> bool:
        """Whether anything of a construct is for this kernel."""
        if tree.data == "kernels":
            return self._is_declared(tree)
        if tree.data == "config" and self.chosen.config is not None:
            return False
        if tree.data == "include":
            return self.builder.include(tree).path.value in self.chosen.includes
        nodes = [node for node in self.builder.items([tree]) if not isinstance(node, ast.Elsewhere)]
        inner = [child for child in _trees(tree) if child.data != "only"]
        if tree.data in _VANISHING and inner:
            return bool(nodes) and any(map(self._left, inner))
        return bool(nodes)

    def _is_elsewhere(self, ordered: _Tree) -> bool:
        return str(ordered.children[0]) in self.chosen.elsewhere

    def _is_declared(self, tree: _Tree) -> bool:
        line, target = self.builder.kernels(tree), self.chosen.target
        version = target.version or ()
        is_for_it = not line.machines or target.machine in [name.text for name in line.machines]
        return is_for_it and any(v.numbers == version[: len(v.numbers)] for v in line.versions)

    def _machine(self, tree: _Tree) -> None:
        names = [child for child in tree.children if isinstance(child, Token)]
        if len(names) > 1:
            start, end = self.builder.span(names[0]).start, self.builder.span(names[-1]).end
            self.cuts.append(Cut(start, end, str(self.chosen.target.machine)))

    # ---- blocks

    def _conditional(self, tree: _Tree) -> None:
        block = _Block.of(tree)
        guard = self.builder.node(block.condition)
        start, end = self._own(tree)
        if guard is True:
            self._cut(start, self._ends[self._opening(block)], unwraps=True)
            self._items(block.items)
            closing = self._closing(tree, block)
            self._cut(self._starts[closing], self._ends[closing], unwraps=True)
            self._cut(self._ends[closing], end)
        elif guard is not False:
            self._edit(block.condition)
            self._items(block.items)
            if block.rest is not None:
                self._else(block.rest)
        elif block.rest is not None:
            self._cut(start, self._own(block.rest)[0])
            self._unwrap(block.rest)

    def _unwrap(self, alternative: _Tree) -> None:
        """`else { … }` or `else if …` after a block that is not for this kernel."""
        start, end = self._own(alternative)
        inner = list(_trees(alternative))
        if self._goes_on(alternative):
            self._cut(start, self._own(inner[0])[0], unwraps=True)
            self._conditional(inner[0])
        else:
            self._cut(start, self._ends[self._index(start) + 1], unwraps=True)
            self._items(inner)
            self._cut(self._starts[self._index(end) - 1], end, unwraps=True)

    def _else(self, alternative: _Tree) -> None:
        """The same after a block whose guard is left."""
        start, end = self._own(alternative)
        inner = list(_trees(alternative))
        if not self._left(alternative):
            self._cut(start, end)
        elif not self._goes_on(alternative):
            self._items(inner)
        else:
            block = _Block.of(inner[0])
            guard = self.builder.node(block.condition)
            if guard is True:
                self._cut(self._own(inner[0])[0], self._starts[self._opening(block)], unwraps=True)
                self._items(block.items)
                self._cut(self._ends[self._closing(inner[0], block)], end)
            elif guard is not False:
                self._conditional(inner[0])
            elif block.rest is not None:
                self._cut(start, self._own(block.rest)[0])
                self._else(block.rest)

    def _goes_on(self, alternative: _Tree) -> bool:
        """Whether it is `else if`."""
        return self._tokens[self._index(self._own(alternative)[0]) + 1] == "if"

    def _items(self, items: Sequence[_Tree]) -> None:
        self.visit(Tree("items", list(items)))

    def _opening(self, block: _Block) -> int:
        """The index of the brace that opens a block."""
        index = self._index(self._own(block.condition)[1])
        while self._tokens[index] != "{":
            index += 1
        return index

    def _closing(self, tree: _Tree, block: _Block) -> int:
        """… and of the one that closes it, before what comes instead of it."""
        start_of_rest = None if block.rest is None else self._own(block.rest)[0]
        return self._index(start_of_rest or self._own(tree)[1]) - 1

    # ---- guards

    def _guard_of(self, tree: _Tree, guard: _Tree) -> None:
        value = self.builder.node(guard)
        start, end = self._outer(guard)
        if not isinstance(value, bool):
            self._edit(guard)
        elif tree.data in ("let", "config"):  # true or false: the language has no other word for it
            self.cuts.append(Cut(start, end, f"{'' if value else 'not '}on {self.chosen.target.machine}"))
        else:
            self._cut(self._starts[self._index(start) - 1], end)  # with `when`

    def _edit(self, guard: _Tree, is_top: bool = True) -> None:
        """Take out of a guard what is decided of it."""
        if guard.data not in _GROUPS:
            for part in _trees(guard) if guard.data == "negated" else ():
                self._edit(part, is_top=False)
            return
        parts = list(_trees(guard))
        kept = [not isinstance(self.builder.node(part), bool) for part in parts]
        places = list(map(self._outer, parts))
        for index, part in enumerate(parts):
            if kept[index]:
                self._edit(part, is_top=False)
            elif any(kept[:index]):
                self._cut(places[index - 1][1], places[index][1])
            else:
                self._cut(places[index][0], places[index + 1][0])
        if kept.count(True) == 1:
            last = parts[kept.index(True)]
            if self._outer(guard) != self._own(guard):
                if last.data != "negated":
                    self._cut_brackets(guard)
            elif is_top and last.data in _GROUPS:
                self._cut_brackets(last)

    def _cut_brackets(self, guard: _Tree) -> None:
        start, end = self._own(guard)
        for index in (self._index(start) - 1, self._index(end)):
            self._cut(self._starts[index], self._ends[index])

    def _own(self, tree: _Tree) -> tuple[int, int]:
        """Where a construct begins and ends; a guard without brackets around it."""
        span = self.builder.span(tree)
        return span.start, span.end

    def _outer(self, guard: _Tree) -> tuple[int, int]:
        """… with them."""
        start, end = self._own(guard)
        first, after = self._index(start), self._index(end)
        while self._tokens[first - 1] == "(" and self._tokens[after] == ")":
            first, after = first - 1, after + 1
        return self._starts[first], self._ends[after - 1]

    # ---- cuts

    def _condition(self, only: _Tree) -> None:
        if only.children:
            span = self.builder.span(only)
            self._cut(span.start, span.end)

    def _item(self, tree: _Tree) -> None:
        """Take out a construct, and what parts it from its neighbour."""
        span = self.builder.span(tree)
        start, end = span.start, span.end
        before, after = self._index(start) - 1, self._index(end)
        if tree.data in ("arm", "choice", "ordered", "op_range"):
            separator = "else" if tree.data in ("arm", "choice") else ","
            if self._tokens[before] == separator and before not in self._gone:
                self._gone.add(before)
                start = self._starts[before]
            elif after < len(self._tokens) and self._tokens[after] == separator:
                self._gone.add(after)
                end = self._ends[after]
        self._cut(start, end)

    def _replace(self, node: ast.Node, text: str) -> None:
        if node.span.text != text:
            self.cuts.append(Cut(node.span.start, node.span.end, text))

    def _cut(self, start: int, end: int, *, unwraps: bool = False) -> None:
        self.cuts.append(Cut(start, end, "", unwraps))

    def _index(self, offset: int) -> int:
        """The index of the first token that begins at an offset, or after it."""
        return bisect_left(self._starts, offset)


def _trees(tree: _Tree) -> Iterator[_Tree]:
    return (child for child in tree.children if isinstance(child, Tree))
