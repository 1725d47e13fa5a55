"""Marks tokens with what the syntax tree says about them: rows, entries, columns and arms."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from pvspec.lang import syntax as ast
from pvspec.lang.format.tokens import Token


def outline(file: ast.File, tokens: Sequence[Token]) -> None:
    """Set the marks of all tokens; `file` is the tree of the same text."""
    marker = _Marker(tokens)
    for item in file.items:
        marker.row(item, type(item).__name__)
        _BODIES[type(item)](marker, item)


class _Marker:
    """One method per construct; a row without a node of its own is found from the end of the row before."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.starts = [token.start for token in tokens]

    def index(self, offset: int) -> int:
        return bisect_right(self.starts, offset) - 1

    def first(self, node: ast.Node) -> Token:
        return self.tokens[self.index(node.span.start)]

    def before(self, node: ast.Node) -> Token:
        return self.tokens[self.index(node.span.start) - 1]

    def last(self, node: ast.Node) -> Token:
        return self.tokens[self.index(node.span.end - 1)]

    def after(self, node: ast.Node) -> Token:
        return self.tokens[self.index(node.span.end - 1) + 1]

    def when(self, guard: ast.Guard) -> Token:
        """The keyword of a guard, which may be in parentheses of its own."""
        index = self.index(guard.span.start) - 1
        while self.tokens[index].text == "(":
            index -= 1
        return self.tokens[index]

    # rows and columns

    def row(self, node: ast.Node, kind: str = "") -> None:
        self.first(node).kind = kind
        self.last(node).ends_row = True

    def rows(self, nodes: Iterable[ast.Node]) -> None:
        for node in nodes:
            self.row(node)

    def numbers(self, nodes: Iterable[ast.Number]) -> None:
        """`bits N` and the like: the node is the number alone."""
        for node in nodes:
            self.last(node).ends_row = True

    def column(self, token: Token, number: int, gap: int = 2) -> None:
        token.column, token.gap = number, gap

    def entries(self, nodes: Iterable[ast.Field | ast.ClobberBit | ast.Text | ast.Name]) -> None:
        for node in nodes:
            first = self.first(node)
            first.is_entry, first.gap = True, 2
            if isinstance(node, ast.Field | ast.ClobberBit):
                first.kind = "entry"
                self.column(self.last(node), 1, gap=1)

    # machine and interface

    def machine(self, machine: ast.Machine) -> None:
        self.numbers(machine.bits)
        self.rows(machine.texts)
        for feature in machine.features:
            self.row(feature, "feature")
            if feature.number is not None:
                self.column(self.first(feature.number), 1)
            if feature.shown is not None:
                self.column(self.first(feature.shown), 2)
            if feature.always:
                self.column(self.last(feature), 3)
        for nops in machine.nops:
            self.row(nops)
            self.entries(nops.entries)
            if nops.jumps:
                self.tokens[self.index(self.last(nops).start) - 1].ends_row = False
        self.choices(machine.choices)

    def choices(self, choices: Sequence[ast.Choice]) -> None:
        for choice in choices:
            if self.before(choice).text == "else":
                self.arm_otherwise(choice)
            else:
                self.first(choice).is_arm = True
                self.tokens[self.index(choice.span.start) - 2].kind = "choose"
            self.last(choice).ends_row = True

    def arm_otherwise(self, node: ast.Choice | ast.Arm) -> None:
        """Mark the `else` before an arm: it belongs to the row of the arm before."""
        word = self.before(node)
        word.is_else, word.resort = True, 1
        self.tokens[self.index(word.start) - 1].ends_row = False

    def policy(self, policy: ast.Policy) -> None:
        for decision in policy.decisions:
            self.row(decision, "decision")
            if decision.features:
                self.column(self.first(decision.features[0]), 1, gap=1)
            if decision.guard is not None:
                self.column(self.when(decision.guard), 2)

    def interface(self, interface: ast.Interface) -> None:
        self.tables(interface.tables)
        self.numbers(interface.max_lens)
        self.entries(interface.clobbers)
        for slot in interface.slots:
            self.row(slot, "slot")
            self.column(self.last(slot), 1, gap=1)
        self.rows(interface.functions)
        self.declarations(interface)
        self.rows(interface.protects)
        for op in interface.ops:
            self.op(op)
        for meaning in interface.meanings:
            self.row(meaning, "meaning")
            self.column(self.after(meaning.ops[-1]), 1, gap=1)

    def op(self, op: ast.Op) -> None:
        self.row(op, "op")
        self.column(self.first(op.number), 1)
        if op.inputs:
            self.column(self.before(op.inputs[0]), 2)
        if op.results:
            self.column(self.before(op.results[0]), 3, gap=1 if op.inputs else 2)
        if op.clobbers:
            self.column(self.before(op.clobbers[0]), 4)
        if op.noreturn:
            self.column(self.noreturn(op), 5)
        if op.length:
            self.column(self.before(op.length), 6)
        if op.guard:
            self.column(self.when(op.guard), 7)

    def noreturn(self, op: ast.Op) -> Token:
        """The keyword, which has no node: what precedes `len`, `when` or the end of the op."""
        following = self.before(op.length) if op.length else self.when(op.guard) if op.guard else None
        return self.tokens[self.index(following.start) - 1] if following else self.last(op)

    def tables(self, tables: Iterable[ast.Table]) -> None:
        for table in tables:
            self.row(table)
            self.entries(table.fields)

    def declarations(self, body: ast.Interface | ast.Backend | ast.Family) -> None:
        for option in body.options:
            self.row(option, "option")
            self.column(self.after(option.names[-1]), 1, gap=1)
        self.symbols(body.symbols)

    def symbols(self, symbols: Iterable[ast.Symbol]) -> None:
        for symbol in symbols:
            self.row(symbol, "symbol")
            if symbol.clobbers is not None:
                self.column(self.before(symbol.clobbers[0]), 1, gap=1)

    # rules

    def chain_def(self, chain: ast.Chain) -> None:
        self.symbols(chain.symbols)
        self.arm_rows(chain.arms)

    def arm_rows(self, arms: Iterable[ast.Arm]) -> None:
        for arm in arms:
            self.row(arm, "arm")
            self.arm(arm, 1)

    def arm(self, arm: ast.Arm, column: int) -> None:
        if arm.guard:
            self.column(self.when(arm.guard), column)
        if isinstance(arm.action, ast.Query):
            self.first(arm.action).is_call = True

    def rules(self, rules: Iterable[ast.Rule | ast.Otherwise | ast.Answer]) -> None:
        for rule in rules:
            self.rule(rule)

    def rule(self, rule: ast.Rule | ast.Otherwise | ast.Answer) -> None:
        self.row(rule, "rule")
        self.column(self.before(rule.arms[0]), 1, gap=1)
        self.first(rule.arms[0]).is_arm = True
        for arm in rule.arms:
            self.arm(arm, 2)
        for before, arm in pairwise(rule.arms):
            self.arm_otherwise(arm)
            self.column(self.before(arm), 3 if before.guard else 2)

    def backend(self, backend: ast.Backend) -> None:
        self.declarations(backend)
        for shadow in backend.shadows:
            self.row(shadow, "shadow")
            self.column(self.first(shadow.operand), 1, gap=1)
            self.column(self.before(shadow.holds.number), 2, gap=1)
            if shadow.guard:
                self.column(self.when(shadow.guard), 3)
        for rom in backend.roms:
            self.rom(rom)
        for target in backend.targets:
            self.row(target, "target")
            if not target.table:
                self.column(self.before(target.symbol), 1, gap=1)
            if target.guard is not None:
                self.column(self.when(target.guard), 2)
        self.rules([*backend.rules, *backend.otherwise])

    def rom(self, rom: ast.Rom) -> None:
        self.row(rom)
        self.first(rom.name).is_call = True
        self.entries(rom.fields)
        self.rules([*rom.answers, rom.otherwise])

    # families, passes and tests

    def family(self, family: ast.Family) -> None:
        self.tables(family.tables)
        for sites in family.sites_of:
            self.row(sites)
            self.entries(name for name, _ in sites.fields)
        self.rows([*family.site_at, *family.lengths, *family.stacked, *family.relaid])
        for read in family.reads:
            self.row(read, "read")
            self.column(self.first(read.type), 1, gap=1)
            self.column(self.before(read.base), 2, gap=1)
        self.declarations(family)
        self.rows(family.protects)
        self.arm_rows(family.arms)

    def passes(self, passes: ast.Passes) -> None:
        self.entries(passes.names)

    def test(self, test: ast.Test) -> None:
        for case in test.cases:
            self.row(case, "case")
            self.case(case)

    def case(self, case: ast.Case) -> None:
        self.column(self.before(case.address), 1, gap=1)
        for length in case.lengths:
            self.column(self.before(length), 2, gap=1)
        for clobbers in case.clobbers:
            self.column(self.before(clobbers[0]), 3, gap=1)
        for part in (*case.memory, *case.fields):
            self.first(part).is_part = True
        self.column(self.before(case.wants[0]), 4, gap=1)
        self.before(case.wants[0]).resort = 2
        if case.settings:
            self.before(case.settings[0]).resort = 3
        for setting in case.settings:
            if setting.kind == "answer":
                self.first(setting).is_call = True


def _nothing(marker: _Marker, item: ast.Include) -> None:
    """An include has no body."""


_BODIES: dict[type[ast.Node], Callable[[_Marker, Any], None]] = {
    ast.Include: _nothing,
    ast.Machine: _Marker.machine,
    ast.Policy: _Marker.policy,
    ast.Interface: _Marker.interface,
    ast.Chain: _Marker.chain_def,
    ast.Backend: _Marker.backend,
    ast.Family: _Marker.family,
    ast.Passes: _Marker.passes,
    ast.Test: _Marker.test,
}
