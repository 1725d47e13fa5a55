"""The calling contract, on every path through an emitter's code.

An emitter reads only its op's inputs, changes only its op's results and what the op and the arm declare clobbered,
leaves the stack alone, touches memory only through symbols and inputs, works at any address, and continues after its
end, or never does if the op is `noreturn`. Control, debug and segment registers are what system ops are for: an op's
meaning says what happens to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import rules
from pvspec.compiler.sound.paths import (
    CLEAR,
    DERIVED,
    ENTRY,
    FLAGS,
    FLAGS_REGISTER,
    GARBAGE,
    STACK_POINTER,
    STATUS,
    UNSURE,
    Content,
    Paths,
    State,
    is_entry,
    is_flags_copy,
    is_general,
    is_stack_access,
    successors,
)
from pvspec.compiler.sound.reach import kind_of, kinds, reachable
from pvspec.compiler.sound.spans import instruction_span
from pvspec.engine.guards import Guard, TargetIs, questions
from pvspec.lang import model
from pvspec.lang.check.names import REGISTERS
from pvspec.lang.diagnostics import Findings, Work
from pvspec.lang.source import Span
from pvspec.x86.code import Code, InstructionEffects, MemoryAccess
from pvspec.x86.decode import read
from pvspec.x86.effects import effects
from pvspec.x86.intel import full_width, part_name

CALLERS_STACK = "the caller's stack"
_STACK_POINTERS = ("esp", "rsp")
_INSTRUCTION = 100  # units of work that one instruction costs
_SYSTEM = re.compile(r"(cr|dr|tr)\d+|[c-gs]s|[er]?sp|[er]?ip|gdtr?|idtr?|ldtr?|msr")


def check_contracts(program: Program, findings: Findings) -> None:
    """PV403 to PV408 for each arm that breaks the contract of one of its ops, once per arm; and for each meaning."""
    interface = program.spec.interface
    if interface is None:
        return
    reported: set[model.Arm] = set()
    kept: set[tuple[object, ...]] = set()
    for op, arm in _answers(program, findings.work):
        if arm not in program.code or arm in reported:
            continue
        promise = (arm, op.inputs, frozenset(op.results), op.result_bytes, op.clobbers, op.noreturn)
        if promise in kept:  # ops with one contract and one chain
            continue
        findings.work.add(_INSTRUCTION * len(program.code[arm].instructions), "its code's contract", arm.span)
        if Contract(op, arm, program, findings).broken():
            reported.add(arm)
        kept.add(promise)


def _answers(program: Program, work: Work) -> Iterator[tuple[model.Op, model.Arm]]:
    interface = program.spec.interface
    assert interface is not None
    for name, meaning in interface.meanings.items():
        if meaning.code is not None:
            yield interface.ops[name], meaning.code
    for backend in program.spec.backends.values():
        for rule in rules(backend):
            fired = {kind_of(op): reachable(rule.chain, program, op, work) for op in kinds(rule)}
            for op in rule.ops:
                work.add(len(rule.chain), "its rule for all of these ops", rule.span)
                yield from ((op, arm) for arm in rule.chain if arm in fired[kind_of(op)])


class Contract:
    """One op's contract, one arm's code."""

    def __init__(self, op: model.Op, arm: model.Arm, program: Program, findings: Findings) -> None:
        self.op = op
        self.arm = arm
        self.code: Code = program.code[arm]
        self.findings = findings
        self.bits = program.spec.machine.bits
        self.everything = frozenset(program.spec.interface.clobbers if program.spec.interface else ())
        meanings = program.spec.interface.meanings.values() if program.spec.interface else ()
        self.is_meaning = any(meaning.code is arm for meaning in meanings)
        self.allowed = op.results | op.clobbers | arm.clobbers
        self.effects = () if isinstance(arm.action, model.Branch) else effects(self.code, self.bits)

    def broken(self) -> bool:
        """Report what breaks the contract; return whether anything does."""
        found = len(self.findings.found)
        if isinstance(self.arm.action, model.Branch):
            self._check_branch(self.arm.action)
        elif not self.effects:
            self._check_nothing()
        else:
            self._check_code()
        return len(self.findings.found) > found

    # ---- arms without code

    def _check_branch(self, action: model.Branch) -> None:
        symbol = self.arm.symbols.get(action.symbol)
        extra = (symbol.clobbers if symbol is not None else frozenset()) - self.allowed
        if extra and not self.op.noreturn:
            self._writes(f"`{action.symbol}` may destroy {_list(extra)}", extra, None)
        if action.mnemonic == "jmp" and not self.op.noreturn:
            self._leaves("a jump that does not return", None)

    def _check_nothing(self) -> None:
        """Without code, the results must be where the inputs were, unless the target does nothing."""
        if not asks_target(self.arm.guard) and not self.op.noreturn:
            self._check_results(self.op.results - self.op.inputs)

    def _check_results(self, missing: Iterable[str]) -> None:
        if wanting := [name for name in missing if is_general(name)]:
            self._add("PV403", f"result {_list(wanting)} of `{self.op.name}` is never written", "", None)

    # ---- code

    def _check_code(self) -> None:
        called = {e.instruction.offset: self._called(e) for e in self.effects if e.kind in ("call", "trap")}
        paths = Paths(self.code, self.effects, self.bits, called)
        for effect, state in paths.reached():
            self._check_reads(effect, state, paths)
            self._check_memory(effect, state)
            self._check_control(effect)
        if paths.clash_at is not None:  # what follows was not examined, so this is refused for `noreturn` too
            self._clashes(paths)
        elif self.op.noreturn:
            if paths.at_end() is not None:
                self._leaves("it falls through at its end", self.effects[-1])
        elif (end := paths.at_end()) is not None:
            self._check_end(end)

    def _called(self, effect: InstructionEffects) -> frozenset[str]:
        """What a call may destroy: all clobber registers of the interface, unless it calls a symbol."""
        for hole in self.code.holes_of(effect.instruction):
            if hole.relative and hole.symbol in self.arm.symbols:
                return self.arm.symbols[hole.symbol].clobbers
        return self.everything

    # ---- reads

    def _check_reads(self, effect: InstructionEffects, state: State, paths: Paths) -> None:
        asked = self._pushed_flags(effect, state) or set()
        if paths.copied(effect, state) is None:
            undeclared = self._undeclared_addresses(effect, state)
            for use in effect.uses:
                if use.read and use.register not in undeclared and not _SYSTEM.fullmatch(use.register):
                    cells = state.register(use.register, self.bits)[use.offset : use.offset + use.size]
                    asked |= self._unknown(cells)
            for access in effect.memory:
                if access.read and is_stack_access(access, self.bits) and effect.kind != "return":
                    asked |= self._unknown(paths.loaded(access, state)) - {CALLERS_STACK}
        if asked:
            names = _list(asked)
            help: str | None = f"declare it: `({names})` among the inputs of `{self.op.name}`, or write it first"
            if not asked <= REGISTERS[self.bits] | {FLAGS_REGISTER}:
                help = None  # no contract can declare that
            self._asks(f"`{effect.instruction.text}` reads {names}", effect, help)
        self._check_flag_reads(effect, state)

    def _undeclared_addresses(self, effect: InstructionEffects, state: State) -> set[str]:
        """The registers of addresses that PV406 refuses, so that PV405 does not report them again."""
        return {
            name
            for access in effect.memory
            if access.read or access.written
            if not is_stack_access(access, self.bits) and not self._is_declared(access, effect, state)
            for name in self._address_registers(access)
        }

    def _unknown(self, cells: Iterable[Content]) -> set[str]:
        """The registers of which some bytes still hold their values on entry, though they are not inputs."""
        origins = {origin for cell in cells for origin in cell.origins}
        names = {origin[0] for origin in origins if isinstance(origin, tuple)} - self.op.inputs
        return names | ({CALLERS_STACK} if GARBAGE in origins and not self.op.noreturn else set())

    def _pushed_flags(self, effect: InstructionEffects, state: State) -> set[str] | None:
        """The flags register, if it is pushed half changed: then the value is not just saved, to be restored later."""
        if not effect.instruction.text.startswith("pushf") or FLAGS_REGISTER in self.op.inputs:
            return None
        changed = any(state.flags[name].origins != {ENTRY} for name in ("df", "if", "ac"))
        return {FLAGS_REGISTER} if changed else None

    def _check_flag_reads(self, effect: InstructionEffects, state: State) -> None:
        if is_flags_copy(effect):
            return
        unknown = {UNSURE} if FLAGS_REGISTER in self.op.inputs else {ENTRY, UNSURE}
        for name in sorted(effect.flags_read & STATUS):
            origins = state.flags[name].origins & unknown
            if origins:
                why = "which has not been set yet" if ENTRY in origins else "which is undefined here"
                self._asks(f"`{effect.instruction.text}` reads {name}, {why}", effect, "compare something first")

    def _asks(self, what: str, effect: InstructionEffects, help: str | None) -> None:
        self._add("PV405", f"code for `{self.op.name}` reads what is not an input", what, effect, help=help)

    # ---- memory

    def _check_memory(self, effect: InstructionEffects, state: State) -> None:
        for access in effect.memory:
            if not (access.read or access.written) or self._is_return_address(access, effect):
                continue
            if is_stack_access(access, self.bits):
                self._check_stack_access(access, effect, state)
            elif effect.ip_relative and not self._has_hole(effect):
                self._fixed("the address of this memory moves with the site", effect)
            elif not self._is_declared(access, effect, state):
                self._add(
                    "PV406",
                    f"code for `{self.op.name}` touches memory that nothing declares",
                    f"`{effect.instruction.text}` uses neither a symbol nor an input as its address",
                    effect,
                    help="declare a symbol for it, or an input that holds its address",
                )

    def _is_return_address(self, access: MemoryAccess, effect: InstructionEffects) -> bool:
        """Whether this is where a call puts the return address, or a return finds it."""
        if not is_stack_access(access, self.bits):
            return False
        return effect.kind == "return" or (effect.kind == "call" and access.written and not access.read)

    def _check_stack_access(self, access: MemoryAccess, effect: InstructionEffects, state: State) -> None:
        start = state.depth + access.displacement
        lowest = min(state.depth, state.depth + (effect.stack_delta or 0))
        if access.size == 0:
            why = "how far it reaches is known only at run time"
        elif start < lowest:
            why = "is below the stack pointer, where an interrupt may write"
        elif start + access.size > 0 and not self.op.noreturn:
            why = "is the caller's stack"
        else:
            return
        self._add("PV406", f"code for `{self.op.name}` touches memory that nothing declares", why, effect)

    def _is_declared(self, access: MemoryAccess, effect: InstructionEffects, state: State) -> bool:
        if self._has_hole(effect):
            return True
        cells = [cell for name in self._address_registers(access) for cell in state.register(name, self.bits)]
        origins = {origin for cell in cells for origin in cell.origins}
        if access.base is not None and full_width(access.base, self.bits) in _STACK_POINTERS:
            origins.add(STACK_POINTER)  # with an index, or in another segment
        declared = {o for o in origins if o == DERIVED or (isinstance(o, tuple) and o[0] in self.op.inputs)}
        return bool(declared) and STACK_POINTER not in origins

    def _address_registers(self, access: MemoryAccess) -> list[str]:
        """The general registers in an address, by their full names."""
        names = [full_width(name, self.bits) for name in (access.base, access.index) if name is not None]
        return [name for name in names if is_general(name)]

    def _has_hole(self, effect: InstructionEffects) -> bool:
        """Whether a hole is the displacement of an instruction's memory operand."""
        instruction = effect.instruction
        data = self.code.data[instruction.offset : instruction.offset + instruction.size]
        reading = read(data, self.bits, instruction.offset)
        if reading is None or reading.displacement is None:
            return False
        return any(hole.offset == instruction.offset + reading.displacement.offset for hole in self.code.holes)

    # ---- control

    def _check_control(self, effect: InstructionEffects) -> None:
        instruction, size = effect.instruction, len(self.code.data)
        known = {other.instruction.offset for other in self.effects} | {size}
        if any(target not in known for target in successors(effect)):
            into = f"`{instruction.text}` goes to byte {effect.target}, which is not the start of an instruction"
            self._add("PV407", f"code for `{self.op.name}` branches into an instruction", into, effect)
        direct = effect.kind in ("call", "jump", "branch") and self._direct(effect)
        if direct and effect.target is None:
            self._fixed("it jumps a fixed distance out of the site", effect)
        elif direct and effect.kind == "call":
            self._leaves(f"`{instruction.text}` calls into its own code", effect)
        leaves = effect.kind == "return" or (effect.kind in ("jump", "branch") and effect.target is None)
        if leaves and not direct and not self.op.noreturn:
            self._leaves(f"`{instruction.text}` does not return", effect)

    def _direct(self, effect: InstructionEffects) -> bool:
        """Whether a branch goes to a number, rather than to a symbol or through an operand."""
        start, end = effect.instruction.offset, effect.instruction.offset + effect.instruction.size
        reading = read(self.code.data[start:end], self.bits, start)
        return reading is not None and reading.target is not None and not self.code.holes_of(effect.instruction)

    def _fixed(self, why: str, effect: InstructionEffects) -> None:
        help = "declare a symbol for its target"
        self._add("PV408", f"code for `{self.op.name}` works at one address only", why, effect, help=help)

    def _leaves(self, why: str, effect: InstructionEffects | None) -> None:
        kind = "never returns" if self.op.noreturn else "must continue after the site"
        self._add("PV404", f"`{self.op.name}` {kind}", why, effect, "its contract")

    # ---- how it ends

    def _clashes(self, paths: Paths) -> None:
        if paths.clash is not None and paths.clash.stack_delta is None:
            why = f"`{paths.clash.instruction.text}` sets the stack pointer to an unknown value"
        else:
            why = "paths with different stack depths meet"
        self._unbalanced(why, paths.clash)

    def _unbalanced(self, why: str, effect: InstructionEffects | None) -> None:
        self._add("PV403", f"`{self.op.name}` does not restore the stack pointer", why, effect, None)

    def _check_end(self, end: State) -> None:
        if end.depth:
            side = "lower" if end.depth < 0 else "higher"
            self._unbalanced(f"the stack pointer ends {abs(end.depth)} bytes {side}", None)
        for effect in self.effects:
            names = {name for name, cells in end.registers.items() if self._destroys(name, cells, effect)}
            if names:
                self._writes(f"`{effect.instruction.text}` writes {_list(names)}", frozenset(names), effect)
        self._check_flags_left({name: end.flags[name] for name in FLAGS})
        written = {name for name, cells in end.registers.items() if not is_entry(cells, name)}
        self._check_results(self.op.results - written - self.op.inputs)
        for name in sorted(self.op.result_bytes.keys() & written):
            self._check_result(name, end.registers[name])

    def _check_result(self, name: str, cells: Sequence[Content]) -> None:
        """Each byte of a result, on every path, must come from inputs or from what the code computed."""
        unknown = {index: self._unknown([cells[index]]) for index in sorted(self.op.result_bytes[name])}
        names = set().union(*unknown.values())
        if not names:
            return
        writers = {writer for cell in cells for writer in cell.writers}
        first = next(iter(self._at(writers)), None)
        written = part_name(name, [index for index, sources in unknown.items() if not sources])
        message = f"a result of `{self.op.name}` may depend on what is not an input"
        if names != {name}:
            what = f"result {name} may be whatever {_list(names)} held before"
            help = f"declare it: `({_list(names)})` among the inputs of `{self.op.name}`"
        elif written is not None:
            what = f"only {written} of result {name} is certainly written: the rest may still hold its old value"
            help = f"write the rest too, or promise less: `-> {written}`"
        else:
            what = f"result {name} may still hold its old value"
            help = f"write all of {name} on every path, for all inputs"
        self._add("PV405", message, what, first, help=help)

    def _destroys(self, name: str, cells: Sequence[Content], effect: InstructionEffects) -> bool:
        """Whether an instruction changes a register that the contract requires to be unchanged."""
        if name in self.allowed or _SYSTEM.fullmatch(name) or is_entry(cells, name):
            return False
        return any(effect.instruction.offset in cell.writers for cell in cells)

    def _check_flags_left(self, flags: dict[str, Content]) -> None:
        free = set(STATUS) | ({"if"} if "interrupt_flag" in self.allowed else set())
        for effect in self.effects if FLAGS_REGISTER not in self.allowed else ():
            names = {name for name in flags.keys() - free if effect.instruction.offset in _changed(name, flags[name])}
            if names:
                word = "interrupt_flag" if names == {"if"} else FLAGS_REGISTER
                self._writes(f"`{effect.instruction.text}` writes {_list(names)}", frozenset({word}), effect)

    def _at(self, offsets: Iterable[int]) -> Sequence[InstructionEffects]:
        return [effect for effect in self.effects if effect.instruction.offset in set(offsets)]

    # ---- reports

    def _writes(self, what: str, extra: frozenset[str], effect: InstructionEffects | None) -> None:
        help: str | None = None  # vector registers, for example, cannot be in a contract
        if extra & {FLAGS_REGISTER, "interrupt_flag"}:
            help = f"declare it: `-> {_list(extra)}`"
        elif extra <= self.everything and not self.is_meaning:
            help = f"declare it: `clobbers {_list(extra)}`"
        elif extra <= REGISTERS[self.bits]:
            help = f"declare it: `clobbers {_list(extra)}` in the contract of `{self.op.name}`"
        self._add(
            "PV403",
            f"code for `{self.op.name}` breaks its contract",
            what,
            effect,
            f"may write {_list(self.allowed) or 'no register'}",
            help,
        )

    def _add(
        self,
        code: str,
        message: str,
        why: str,
        effect: InstructionEffects | None,
        contract: str | None = "its contract",
        help: str | None = None,
    ) -> None:
        place: Span = self.arm.span if effect is None else instruction_span(self.arm, self.code, effect.instruction)
        related = [(self.op.span, contract)] if contract is not None else []
        shown = self.effects if effect is None else [effect]
        self.findings.add(code, message, (place, why), *related, notes=self._shown(shown), help=help)

    def _shown(self, shown: Sequence[InstructionEffects]) -> list[str]:
        lines = []
        for effect in shown:
            start, size = effect.instruction.offset, effect.instruction.size
            lines.append(f"{self.code.data[start : start + size].hex(' '):<24} {effect.instruction.text}")
        return lines


def _changed(name: str, flag: Content) -> frozenset[int]:
    """The instructions that leave a flag changed; the ABI requires the direction flag to be clear at calls."""
    unchanged = {ENTRY, CLEAR} if name == "df" else {ENTRY}
    return frozenset() if flag.origins <= unchanged else flag.writers


def asks_target(guard: Guard | None) -> bool:
    """Whether a guard tests the op's target: then the arm does what that function does."""
    return any(isinstance(question, TargetIs) for question in questions(guard))


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
