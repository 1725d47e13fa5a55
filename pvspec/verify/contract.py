"""The calling contract, as far as it can be read off the instructions.

An emitter may write its op's results, what the op and the arm declare
clobbered, and nothing else; it leaves the stack as it found it; control leaves
it only at its end, or never comes back where the op is `noreturn`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pvspec import model
from pvspec.asm.effects import effects
from pvspec.assemble import Program
from pvspec.diagnostics import Findings
from pvspec.machinecode import Code, InstructionEffects
from pvspec.verify.fit import rules
from pvspec.verify.reach import reachable

# Control, debug and segment registers are what system ops are for; the stack pointer has a check of its own.
_SYSTEM = re.compile(r"(cr|dr|tr)\d+|[c-gs]s|[er]?sp|[er]?ip|gdtr?|idtr?|ldtr?|msr")


def check_contracts(program: Program, findings: Findings) -> None:
    """PV403 and PV404 for each arm that breaks the contract of an op it answers, once an arm."""
    interface = program.spec.interface
    if interface is None:
        return
    told: set[model.Arm] = set()
    for backend in program.spec.backends.values():
        for rule in rules(backend):
            for op in rule.ops:
                for arm in _in_order(rule.chain, reachable(rule.chain, program, op)):
                    if arm in program.code and arm not in told and _Contract(op, arm, program, findings).broken():
                        told.add(arm)


def _in_order(chain: model.Chain, fired: set[model.Arm]) -> Iterable[model.Arm]:
    return (arm for arm in chain if arm in fired)


class _Contract:
    """One op's contract, one arm's code."""

    def __init__(self, op: model.Op, arm: model.Arm, program: Program, findings: Findings) -> None:
        self.op = op
        self.arm = arm
        self.code: Code = program.code[arm]
        self.findings = findings
        self.everything = frozenset(program.spec.interface.clobbers if program.spec.interface else ())
        self.effects = self._effects(program.spec.machine.bits)

    def _effects(self, bits: int) -> Sequence[InstructionEffects]:
        if isinstance(self.arm.action, model.Branch):
            return ()
        return effects(self.code, bits)

    def broken(self) -> bool:
        """Report what breaks the contract; whether anything does."""
        found = len(self.findings.found)
        if isinstance(self.arm.action, model.Branch):
            self._check_branch(self.arm.action)
        elif not self.op.noreturn:
            self._check_writes()
            self._check_stack()
        if self.effects:
            self._check_control()
        return len(self.findings.found) > found

    def _allowed(self) -> frozenset[str]:
        return self.op.results | self.op.clobbers | self.arm.clobbers

    def _check_branch(self, action: model.Branch) -> None:
        symbol = self.arm.symbols.get(action.symbol)
        extra = (symbol.clobbers if symbol is not None else frozenset()) - self._allowed()
        if extra and not self.op.noreturn:
            self._report(f"`{action.symbol}` may destroy {_list(extra)}", extra, [])
        if action.mnemonic == "jmp" and not self.op.noreturn:
            self._leaves("a jump that does not come back", [])

    def _check_writes(self) -> None:
        written: set[str] = set()
        for effect in self.effects:
            extra = self._written(effect) - self._allowed()
            if extra:
                self._report(f"`{effect.instruction.text}` writes {_list(extra)}", extra, [effect])
            written |= self._written(effect)
        missing = self.op.results - written - self.op.inputs
        if missing and self._reaches_end():
            self.findings.add(
                "PV403",
                f"the result {_list(missing)} of `{self.op.name}` is never written",
                (self.arm.span, ""),
                (self.op.span, "its contract"),
            )

    def _written(self, effect: InstructionEffects) -> frozenset[str]:
        written = frozenset(name for name in effect.writes if not _SYSTEM.fullmatch(name))
        return written | self._called(effect) if effect.kind == "call" else written

    def _called(self, effect: InstructionEffects) -> frozenset[str]:
        start, end = effect.instruction.offset, effect.instruction.offset + effect.instruction.size
        for hole in self.code.holes:
            if start <= hole.offset < end and hole.relative and hole.symbol in self.arm.symbols:
                return self.arm.symbols[hole.symbol].clobbers
        return self.everything

    def _check_stack(self) -> None:
        """Follow every path; the depth must agree where paths meet and be 0 at the end."""
        at = {effect.instruction.offset: effect for effect in self.effects}
        depths: dict[int, int] = {}
        pending = [(0, 0)]
        while pending:
            start, depth = pending.pop()
            effect = at.get(start)
            if depths.setdefault(start, depth) != depth:
                self._unbalanced("paths meet with different stack depths", effect)
                return
            if effect is None:
                continue
            del at[start]
            if effect.stack_delta is None:
                self._unbalanced(f"`{effect.instruction.text}` moves the stack pointer out of sight", effect)
                return
            pending += [(target, depth + effect.stack_delta) for target in self._successors(effect)]
        if depths.get(len(self.code.data), 0):
            moved = depths[len(self.code.data)]
            self._unbalanced(f"the stack pointer ends {abs(moved)} bytes {'lower' if moved < 0 else 'higher'}", None)

    def _successors(self, effect: InstructionEffects) -> list[int]:
        end = effect.instruction.offset + effect.instruction.size
        targets = [effect.target] if effect.target is not None and effect.kind != "call" else []
        return [*([end] if effect.falls_through else []), *targets]

    def _unbalanced(self, message: str, effect: InstructionEffects | None) -> None:
        self.findings.add(
            "PV403",
            f"`{self.op.name}` does not leave the stack as it found it",
            (self.arm.span, message),
            notes=self._shown([effect] if effect else self.effects),
        )

    def _check_control(self) -> None:
        for effect in self.effects:
            leaves = effect.kind == "return" or (effect.kind in ("jump", "branch") and effect.target is None)
            if leaves and not self.op.noreturn:
                self._leaves(f"`{effect.instruction.text}` does not come back", [effect])
        if self.op.noreturn and self._reaches_end():
            self._leaves("it falls through at its end", self.effects[-1:])

    def _reaches_end(self) -> bool:
        last = self.effects[-1] if self.effects else None
        falls = last is not None and last.falls_through
        return falls or any(effect.target == len(self.code.data) for effect in self.effects)

    def _leaves(self, why: str, shown: Sequence[InstructionEffects]) -> None:
        kind = "never returns" if self.op.noreturn else "must go on behind the site"
        self.findings.add(
            "PV404",
            f"`{self.op.name}` {kind}",
            (self.arm.span, why),
            (self.op.span, "its contract"),
            notes=self._shown(shown),
        )

    def _report(self, what: str, extra: frozenset[str], shown: Sequence[InstructionEffects]) -> None:
        self.findings.add(
            "PV403",
            f"code for `{self.op.name}` breaks its contract",
            (self.arm.span, what),
            (self.op.span, f"may write {_list(self._allowed()) or 'no register'}"),
            notes=self._shown(shown),
            help=f"declare it: `clobbers {_list(extra)}`",
        )

    def _shown(self, shown: Sequence[InstructionEffects]) -> list[str]:
        lines = []
        for effect in shown:
            start, size = effect.instruction.offset, effect.instruction.size
            lines.append(f"{self.code.data[start : start + size].hex(' '):<24} {effect.instruction.text}")
        return lines


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
