"""For each op and backend, what is known about the code that its sites get, and how."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.contract import asks_target
from pvspec.compiler.sound.fit import rules
from pvspec.compiler.sound.holes import undecided
from pvspec.compiler.sound.reach import reachable
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings
from pvspec.proof.equivalence import Difference, Emitter, NotEmulated, check_nop, compare, not_emulated
from pvspec.proof.shadows import Options, may_hold, option_settings, shadow_flag
from pvspec.x86.code import Code
from pvspec.x86.decode import disassemble
from pvspec.x86.effects import effects
from pvspec.x86.emulator.function import Emulator, Function

_NOP, _CELL = 30_000, 20  # units of work that running a nop costs, and an op of a backend
PROVEN, EMULATED, UNPROVEN = "proven", "emulated", "not provable here"


class Verdict(Value):
    """What is known about one arm for one op: how, from how many states, why, and under which assumptions."""

    arm: model.Arm
    kind: str
    states: int
    why: str
    assumes: tuple[str, ...] = ()


class Cell(Value):
    """One op of one backend: a verdict for each arm that can fire."""

    op: model.Op
    verdicts: tuple[Verdict, ...]

    @property
    def kind(self) -> str:
        """The weakest of the arms' verdicts."""
        kinds = {verdict.kind for verdict in self.verdicts}
        return next((kind for kind in (UNPROVEN, EMULATED) if kind in kinds), PROVEN)

    @property
    def states(self) -> int:
        """States run for all arms together."""
        return sum(verdict.states for verdict in self.verdicts)


class Prover:
    """Proves a program's ops; wrong code is added to the findings."""

    def __init__(self, program: Program, findings: Findings) -> None:
        self.program = program
        self.findings = findings
        self.bits = program.spec.machine.bits
        self._reported: set[model.Arm] = set()
        self._answered: dict[str, dict[str, model.Rule]] = {}

    @cached_property
    def emulator(self) -> Emulator:
        """The emulator, created when first needed."""
        return Emulator(self.bits)

    def nops(self) -> dict[str, int]:
        """The states run for each nop table; PV603 for a nop that does something."""
        counts = {}
        for name, table in self.program.spec.machine.nops.items():
            counts[name] = 0
            for nop in table:
                self.findings.work.add(_NOP, f"the nops of `{name}`")
                found = check_nop(nop, self.emulator)
                if isinstance(found, int):
                    counts[name] += found
                else:
                    text = "; ".join(one.text for one in disassemble(nop, self.bits))
                    message = f"nop table `{name}`: `{nop.hex(' ')}` ({text}) does something"
                    self.findings.add("PV603", message, notes=found)
        return counts

    def cells(self) -> Iterator[tuple[model.Backend, tuple[Cell, ...]]]:
        """For each backend, a cell for each op, in the interface's order."""
        interface = self.program.spec.interface
        ops = interface.ops.values() if interface is not None else ()
        for backend in self.program.spec.backends.values():
            yield backend, tuple(self.cell(op, backend) for op in ops)

    def cell(self, op: model.Op, backend: model.Backend) -> Cell:
        """What is known about one op of one backend."""
        if backend.name not in self._answered:
            self._answered[backend.name] = {op.name: rule for rule in rules(backend) for op in rule.ops}
        rule = self._answered[backend.name][op.name]
        self.findings.work.add(_CELL + len(rule.chain), f"the ops of {backend.name}", rule.span)
        fired = reachable(rule.chain, self.program, op, self.findings.work)
        verdicts = [self.verdict(op, arm, backend) for arm in rule.chain if arm in fired]
        return Cell(op, tuple(verdicts))

    def verdict(self, op: model.Op, arm: model.Arm, backend: model.Backend) -> Verdict:
        """What is known about one arm for one op."""
        match arm.action:
            case model.Keep():
                return Verdict(arm, PROVEN, 0, "the site stays as it is")
            case model.Bug():
                return Verdict(arm, PROVEN, 0, "patching stops")
            case model.Query(rom, _):
                return Verdict(arm, UNPROVEN, 0, f"rom `{rom}` answers")
            case model.Branch(mnemonic, "target", _):
                unsure = self.bits == 64 and self.program.spec.text is None
                reach = ("a site's rel32 reaches the target",) if unsure else ()
                return Verdict(arm, PROVEN, 0, "the same call" if mnemonic == "call" else "the same jump", reach)
            case model.Branch(_, symbol, _) if not asks_target(arm.guard):
                return Verdict(arm, UNPROVEN, 0, f"`{symbol}` is code outside the spec")
        if asks_target(arm.guard):
            return Verdict(arm, PROVEN, 0, "for one target only", ("that target does what the arm does",))
        return self._judge(op, arm, backend)

    def _judge(self, op: model.Op, arm: model.Arm, backend: model.Backend) -> Verdict:
        interface = self.program.spec.interface
        assert interface is not None
        if arm not in self.program.code:
            return Verdict(arm, UNPROVEN, 0, "its code is wrong")
        code, meaning = self.program.code[arm], interface.meanings.get(op.name)
        assumes = self._assumptions(arm, code)
        if meaning is None:
            return Verdict(arm, UNPROVEN, 0, "no meaning is declared", assumes)
        if (
            meaning.code is not None
            and self.program.code.get(meaning.code)
            and _same(code, self.program.code[meaning.code])
        ):
            return Verdict(arm, PROVEN, 0, "the same code", assumes)
        gap = not_emulated(code, self.bits)
        if gap is None and meaning.code is not None and meaning.code in self.program.code:
            gap = not_emulated(self.program.code[meaning.code], self.bits)
        if gap is not None:
            return Verdict(arm, UNPROVEN, 0, f"`{gap.text}` needs {gap.why}", assumes)
        return self._emulated(op, arm, backend, meaning, assumes)

    def _emulated(
        self, op: model.Op, arm: model.Arm, backend: model.Backend, meaning: model.Meaning, assumes: tuple[str, ...]
    ) -> Verdict:
        total = 0
        for emitter in self._emitters(op, arm, backend):
            found = compare(emitter, meaning, self.program, self.emulator, self.findings.work)
            if isinstance(found, NotEmulated):
                return Verdict(arm, UNPROVEN, total, f"`{found.text}` is {found.why}", assumes)
            if isinstance(found, Difference):
                self._differs(op, arm, meaning, found)
                return Verdict(arm, UNPROVEN, total, "it does something else", assumes)
            total += found
        return Verdict(arm, EMULATED, total, "", assumes)

    def _emitters(self, op: model.Op, arm: model.Arm, backend: model.Backend) -> Iterator[Emitter]:
        """The arm's code with each setting of the options that makes a difference."""
        interface = self.program.spec.interface
        assert interface is not None
        code = self.program.code[arm]
        names = sorted(arm.symbols)
        functions = {name: self._function(arm.symbols[name], names.index(name)) for name in _called(code, self.bits)}
        addresses = {name: self.emulator.data_address(index) for index, name in enumerate(names)}
        addresses |= {name: function.address for name, function in functions.items()}
        bases = {name: self.emulator.segment_base(name) for name in ("fs", "gs")}
        settings: list[Options] = list(
            option_settings(backend, interface, [arm.guard, *(shadow.guard for shadow in backend.shadows)])
        )
        flags = {
            shadow_flag(backend, setting, self.program, addresses, bases)
            for setting in settings
            if may_hold(arm.guard, setting)
        }
        allowed = op.results | op.clobbers | arm.clobbers
        for flag in sorted(flags, key=repr):
            yield Emitter(op, arm, code, allowed, functions, addresses, flag)

    def _function(self, symbol: model.Symbol, index: int) -> Function:
        return Function(symbol.name, self.emulator.function_address(index), symbol.clobbers)

    def _assumptions(self, arm: model.Arm, code: Code) -> tuple[str, ...]:
        called = sorted(_called(code, self.bits))
        found = [f"`{name}` destroys only what the spec declares, and does only what the op means" for name in called]
        if undecided(arm, self.program):
            found.append("its holes reach their targets: this is checked when each site is patched")
        return tuple(found)

    def _differs(self, op: model.Op, arm: model.Arm, meaning: model.Meaning, found: Difference) -> None:
        if arm in self._reported:
            return
        self._reported.add(arm)
        shown = [
            f"{found.site[i.offset : i.offset + i.size].hex(' '):<24} {i.text}"
            for i in disassemble(found.site, self.bits, found.address)
        ]
        self.findings.add(
            "PV602",
            f"code for `{op.name}` does not do what the op means",
            (arm.span, found.lines[-1]),
            (meaning.span, "what it means"),
            notes=[*shown, *found.lines[:-1]],
        )


def _same(one: Code, other: Code) -> bool:
    return one.data == other.data and one.holes == other.holes


def _called(code: Code, bits: int) -> frozenset[str]:
    """The symbols that branches go to."""
    branches = [e.instruction for e in effects(code, bits) if e.kind in ("call", "jump", "branch")]
    return frozenset(
        hole.symbol
        for hole in code.holes
        for one in branches
        if hole.relative and one.offset <= hole.offset < one.offset + one.size and hole.end == one.offset + one.size
    )
