"""What the parts of a spec refer to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pvspec.lang import syntax as ast
from pvspec.lang.check.chains import arms_of

_WORD = re.compile(r"[A-Za-z_$.][\w$.]*", re.ASCII)
_COMMENT = re.compile(r"#[^\n]*")


class Uses:
    """The names that a part of a spec looks up; features are counted separately."""

    def __init__(self, arms: Iterable[ast.Arm] = ()) -> None:
        self.words: set[str] = set()
        self.features: set[str] = set()
        for arm in arms:
            self.guard(arm.guard)
            self.names(arm.action)
            if isinstance(arm.action, ast.Asm):
                self.code(arm.action.source)

    def add(self, other: Uses) -> None:
        """Count what another part uses."""
        self.words |= other.words
        self.features |= other.features

    def guard(self, item: ast.Guard | None) -> None:
        """Count what a guard tests."""
        if isinstance(item, ast.AnyOf | ast.AllOf):
            for part in item.parts:
                self.guard(part)
        elif isinstance(item, ast.Not):
            self.guard(item.part)
        elif isinstance(item, ast.CpuHas):
            self.features.add(item.name.text)
        elif item is not None:
            self.names(item)

    def names(self, node: ast.Node) -> None:
        """Count all names in a node, whatever they refer to: so new kinds of guards and actions are covered."""
        for part in vars(node).values():
            if isinstance(part, ast.Name):
                self.words.add(part.text)

    def code(self, source: ast.Text) -> None:
        """Count the words in assembly."""
        self.words.update(_WORD.findall(_COMMENT.sub("", source.value)))

    def number(self, expr: ast.Sum) -> None:
        """Count the names on which a number depends."""
        for _, product in expr.parts:
            for factor in product.factors:
                if isinstance(factor, ast.Sum):
                    self.number(factor)
                elif isinstance(factor, ast.Name):
                    self.words.add(factor.text)


def of_interface(item: ast.Interface, uses: Uses) -> None:
    """Add what an interface asks for, and the functions that it names."""
    for op in item.ops:
        uses.number(op.number)
        if isinstance(op.length, ast.Name):
            uses.words.add(op.length.text)
        uses.guard(op.guard)
    for meaning in item.meanings:
        if meaning.code is not None:
            uses.code(meaning.code.source)
    for functions in item.functions:
        uses.names(functions)
    _of_tables(item.tables, uses)


def of_step(item: ast.Step) -> Uses:
    """What a step asks for, without the steps inside it."""
    uses = Uses()
    if not isinstance(item, ast.Listed) and isinstance(item.guard, ast.Node):
        uses.guard(item.guard)
    return uses


def steps_in(items: Iterable[ast.Step]) -> Iterator[ast.Step]:
    """Steps, and the ones inside each after it."""
    left = list(items)[::-1]
    while left:
        step = left.pop()
        yield step
        if isinstance(step, ast.Conditional):
            left += reversed((*step.then, *step.otherwise))


def of_backend(item: ast.Backend) -> Uses:
    """What a backend asks for and names."""
    uses = Uses(arms_of(item))
    for target in item.targets:
        uses.names(target)
        uses.guard(target.guard)
    for shadow in item.shadows:
        uses.code(shadow.operand)
        uses.guard(shadow.guard)
    return uses


def of_family(item: ast.Family) -> Uses:
    """What a family asks for and names."""
    uses = Uses(item.arms)
    for at in item.site_at:
        uses.names(at)
    for read in item.reads:
        uses.words.add(read.base.text)
    _of_tables(item.tables, uses)
    return uses


def _of_tables(tables: Iterable[ast.Table], uses: Uses) -> None:
    for table in tables:
        uses.words.update(name.text for name in table.bounds or ())


def names_features(item: ast.Family, uses: Uses) -> bool:
    """Whether a field of the record holds a feature's number, so that tables may name any feature."""
    fields = {field.name.text for table in item.tables for field in table.fields if field.name is not None}
    return not fields.isdisjoint(uses.features)
