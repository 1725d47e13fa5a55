"""Goes through a tree of what all kernels are told, and takes out what is not for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lark import Token, Tree

from pvspec.lang.parse.cuts import GUARDS, Chosen, Cut, Cuts, ParseTree, trees
from pvspec.lang.source import Source
from pvspec.lang.target import version_text

_SEPARATORS = {"arm": "else", "choice": "else", "ordered": ",", "op_range": ","}
_VANISHING = frozenset(["machine", "cmdline", "test", "choose", "passes"])  # mean nothing when nothing is in them


def cuts(source: Source, tree: ParseTree, start: int, chosen: Chosen) -> list[Cut]:
    """The cuts in one tree of a source, whose positions count from `start`."""
    cutter = _Cutter(source, tree, start, chosen)
    cutter.visit(tree)
    return cutter.found


class _Block(NamedTuple):
    """A block with a guard, and what is there instead of it."""

    condition: ParseTree
    items: list[ParseTree]
    rest: ParseTree | None

    @classmethod
    def of(cls, tree: ParseTree) -> _Block:
        """The parts of a `conditional`."""
        condition, *items = trees(tree)
        rest = items.pop() if items and items[-1].data == "alternative" else None
        return cls(condition, items, rest)


class _Cutter(Cuts):
    def __init__(self, source: Source, tree: ParseTree, start: int, chosen: Chosen) -> None:
        super().__init__(source, tree, start, chosen)
        self._gone = set[int]()  # separators, by their index

    def visit(self, tree: ParseTree) -> None:
        """Find what is taken out of a construct that stays."""
        for child in trees(tree):
            if child.data == "only":
                if child.children:
                    self.cut(*self.own(child))
            elif child.data in GUARDS:
                self.guard_of(tree, child)
            elif self._is_left_out(child) or (tree.data == "policy" and child.children[0] in self.chosen.elsewhere):
                self._leave_out(child)
            elif child.data == "conditional":
                self._conditional(child)
            else:
                self._rewrite(child)
                self.visit(child)

    def _is_left_out(self, tree: ParseTree) -> bool:
        if tree.data == "kernels":
            return not self._is_declared(tree)
        if tree.data == "config" and self.chosen.config is not None:
            return True
        if tree.data == "include":
            return self.builder.include(tree).path.value not in self.chosen.includes
        inner = [child for child in trees(tree) if child.data != "only"]
        is_empty = tree.data in _VANISHING and bool(inner) and all(map(self._is_left_out, inner))
        return is_empty or self.own(tree) in self.left_out

    def _is_declared(self, tree: ParseTree) -> bool:
        line, target = self.builder.kernels(tree), self.chosen.target
        version = target.version or ()
        is_for_it = not line.machines or target.machine in [name.text for name in line.machines]
        return is_for_it and any(v.numbers == version[: len(v.numbers)] for v in line.versions)

    def _rewrite(self, tree: ParseTree) -> None:
        """Write which kernel a construct is for now, or where a file is."""
        target = self.chosen.target
        if tree.data == "kernels":
            text = f"kernels {version_text(target.version)} on {target.machine}"
            self.replace(self.builder.kernels(tree), text)
        elif tree.data == "include":
            path = self.builder.include(tree).path
            self.replace(path, self.chosen.includes[path.value])
        elif tree.data == "machine":
            first, *others = [self.builder.span(child) for child in tree.children if isinstance(child, Token)]
            if others:
                self.found.append(Cut(first.start, others[-1].end, str(target.machine)))

    def _leave_out(self, tree: ParseTree) -> None:
        """Take out a construct, and what parts it from its neighbour."""
        start, end = self.own(tree)
        before, after = self.index(start) - 1, self.index(end)
        separator = _SEPARATORS.get(tree.data)
        if separator is not None and self.tokens[before] == separator and before not in self._gone:
            self._gone.add(before)
            start = self.starts[before]
        elif separator is not None and self.tokens[after] == separator:
            self._gone.add(after)
            end = self.ends[after]
        self.cut(start, end)

    # ---- blocks

    def _conditional(self, tree: ParseTree) -> None:
        block = _Block.of(tree)
        guard = self.builder.node(block.condition)
        start, end = self.own(tree)
        if guard is True:
            self.cut(start, self.ends[self._opening(block)], unwraps=True)
            self._items(block.items)
            closing = self._closing(tree, block)
            self.cut(self.starts[closing], self.ends[closing], unwraps=True)
            self.cut(self.ends[closing], end)
        elif guard is not False:
            self.guard(block.condition)
            self._items(block.items)
            if block.rest is not None:
                self._else(block.rest)
        elif block.rest is not None:
            self.cut(start, self.own(block.rest)[0])
            self._unwrap(block.rest)
        else:
            self.cut(start, end)

    def _unwrap(self, alternative: ParseTree) -> None:
        """`else { … }` or `else if …` after a block that is not for this kernel."""
        start, end = self.own(alternative)
        inner = list(trees(alternative))
        if self._goes_on(alternative):
            self.cut(start, self.own(inner[0])[0], unwraps=True)
            self._conditional(inner[0])
        else:
            self.cut(start, self.ends[self.index(start) + 1], unwraps=True)
            self._items(inner)
            self.cut(self.starts[self.index(end) - 1], end, unwraps=True)

    def _else(self, alternative: ParseTree) -> None:
        """The same after a block whose guard is left."""
        start, end = self.own(alternative)
        inner = list(trees(alternative))
        if all(map(self._is_left_out, inner)):
            self.cut(start, end)
        elif not self._goes_on(alternative):
            self._items(inner)
        else:
            block = _Block.of(inner[0])
            guard = self.builder.node(block.condition)
            if guard is True:
                self.cut(self.own(inner[0])[0], self.starts[self._opening(block)], unwraps=True)
                self._items(block.items)
                self.cut(self.ends[self._closing(inner[0], block)], end)
            elif guard is not False:
                self._conditional(inner[0])
            elif block.rest is not None:
                self.cut(start, self.own(block.rest)[0])
                self._else(block.rest)

    def _goes_on(self, alternative: ParseTree) -> bool:
        """Whether it is `else if`."""
        return self.tokens[self.index(self.own(alternative)[0]) + 1] == "if"

    def _items(self, items: Sequence[ParseTree]) -> None:
        self.visit(Tree("items", list(items)))

    def _opening(self, block: _Block) -> int:
        """The index of the brace that opens a block."""
        index = self.index(self.own(block.condition)[1])
        while self.tokens[index] != "{":
            index += 1
        return index

    def _closing(self, tree: ParseTree, block: _Block) -> int:
        """… and of the one that closes it, before what comes instead of it."""
        end = self.own(tree)[1] if block.rest is None else self.own(block.rest)[0]
        return self.index(end) - 1
