"""What registers, flags and the stack may hold on every path through an emitter's code.

An abstract interpretation: each byte of a register or a stack slot is described by its origins, each flag by whether
it is unchanged. Where paths meet, the states are joined; this is repeated until nothing changes, so loops are covered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pvspec.engine.value import Value
from pvspec.x86.code import Code, InstructionEffects, MemoryAccess, RegisterUse

Origin: TypeAlias = str | tuple[str, int]
"""The origin of a byte: (register, index), its value on entry; or one of the words below."""

DERIVED = "derived"  # computed from something that the code may read
CONSTANT = "constant"
STACK_POINTER = "stack pointer"
GARBAGE = "garbage"

ENTRY, SET, CLEAR, UNSURE = "entry", "set", "clear", "unsure"  # what a flag may be
STATUS = frozenset({"of", "sf", "zf", "af", "cf", "pf"})
FLAGS = (*sorted(STATUS), "df", "if", "ac")
FLAGS_REGISTER = "flags"

_STACK_POINTERS = {32: "esp", 64: "rsp"}
_GENERAL = re.compile(r"[er]?(ax|bx|cx|dx|si|di|bp)|r\d+")
_SAME_LEA = re.compile(r"lea (\w+), \[(\w+)\]")


class Content(Value):
    """The possible origins of a byte or a flag, and the instructions (offsets) that may have written it."""

    origins: frozenset[Origin]
    writers: frozenset[int] = frozenset()

    def joined(self, other: Content) -> Content:
        """The union of this one and the other."""
        return Content(self.origins | other.origins, self.writers | other.writers)


@dataclass
class State:
    """The machine before an instruction; `depth` is the stack pointer less what it was on entry, in bytes."""

    registers: dict[str, tuple[Content, ...]]
    flags: dict[str, Content]
    depth: int = 0
    stack: dict[int, Content] = field(default_factory=dict)

    def copy(self) -> State:
        """A copy that can be changed."""
        return State(dict(self.registers), dict(self.flags), self.depth, dict(self.stack))

    def register(self, name: str, bits: int) -> tuple[Content, ...]:
        """A register's bytes; they have their values on entry until they are written."""
        if name not in self.registers:
            size = bits // 8 if is_general(name) or name == FLAGS_REGISTER else 1
            return tuple(Content(frozenset({(name, index)})) for index in range(size))
        return self.registers[name]

    def joined(self, other: State, bits: int) -> State:
        """What holds where two paths meet; their depths agree."""
        names = self.registers.keys() | other.registers.keys()
        registers = {n: _joined(self.register(n, bits), other.register(n, bits)) for n in names}
        flags = {name: self.flags[name].joined(other.flags[name]) for name in FLAGS}
        slots = self.stack.keys() & other.stack.keys()
        return State(registers, flags, self.depth, {s: self.stack[s].joined(other.stack[s]) for s in slots})


def _joined(one: Sequence[Content], other: Sequence[Content]) -> tuple[Content, ...]:
    return tuple(a.joined(b) for a, b in zip(one, other, strict=True))


def is_general(name: str) -> bool:
    """Whether a full-width register is a general one, and not the stack pointer."""
    return _GENERAL.fullmatch(name) is not None


def is_stack_access(access: MemoryAccess, bits: int) -> bool:
    """Whether memory is addressed by the full stack pointer and a displacement."""
    return access.base == _STACK_POINTERS[bits] and access.index is None and access.segment in (None, "ss")


class Paths:
    """All paths through a piece of code; `called` names what each call may destroy.

    `before` holds the state before each instruction that a path reaches, by offset, and after the last one, by
    the code's size, that at the end. `clash` is the instruction at which paths meet with different depths, or one that
    sets the stack pointer to an unknown value.
    """

    def __init__(
        self, code: Code, effects: Sequence[InstructionEffects], bits: int, called: Mapping[int, frozenset[str]]
    ) -> None:
        self.code = code
        self.bits = bits
        self.called = called
        self.at = {effect.instruction.offset: effect for effect in effects}
        self.before: dict[int, State] = {}
        self.clash: InstructionEffects | None = None
        self.clash_at: int | None = None
        self._run()

    def reached(self) -> Iterable[tuple[InstructionEffects, State]]:
        """The instructions that a path reaches, in the code's order, each with the state before it."""
        return ((self.at[offset], self.before[offset]) for offset in sorted(self.before) if offset in self.at)

    def at_end(self) -> State | None:
        """The state after the last instruction; None if no path gets there."""
        return self.before.get(len(self.code.data))

    def _run(self) -> None:
        flags = {name: Content(frozenset({ENTRY})) for name in FLAGS}
        pending: list[tuple[int, State]] = [(0, State({}, flags))]
        while pending and self.clash_at is None:
            offset, state = pending.pop()
            known = self.before.get(offset)
            if known is not None and known.depth != state.depth:
                self.clash, self.clash_at = self.at.get(offset), offset
                return
            merged = state if known is None else known.joined(state, self.bits)
            if merged == known:
                continue
            self.before[offset] = merged
            effect = self.at.get(offset)
            if effect is None:
                continue
            after = self.after(effect, merged)
            if after is None:
                self.clash, self.clash_at = effect, offset
                return
            pending += [(target, after) for target in successors(effect)]

    def after(self, effect: InstructionEffects, before: State) -> State | None:
        """The state after an instruction; None if it sets the stack pointer to an unknown value."""
        if effect.stack_delta is None and effect.falls_through:
            return None
        state, writer = before.copy(), frozenset({effect.instruction.offset})
        copied = self.copied(effect, before)
        moved = None if copied is None else tuple(Content(cell.origins, writer) for cell in copied)
        # a copy of 32 bits clears the rest of a 64-bit register
        value = Content(frozenset({self._origin(effect, before) if moved is None else CONSTANT}), writer)
        for use in effect.uses:
            if use.written and use.register != _STACK_POINTERS[self.bits]:
                self._write(state, use, value, moved)
        for access in effect.memory:
            if access.written and is_stack_access(access, self.bits) and effect.kind != "call":
                self._store(state, before.depth + access.displacement, access.size, value, moved)
        self._set_flags(state, effect, moved, writer)
        state.depth += effect.stack_delta or 0
        state.stack = {slot: content for slot, content in state.stack.items() if slot >= state.depth}
        for name in self.called.get(effect.instruction.offset, ()):
            state.registers[name] = tuple(Content(frozenset({DERIVED}), writer) for _ in range(self.bits // 8))
        return state

    def _write(self, state: State, use: RegisterUse, value: Content, moved: Sequence[Content] | None) -> None:
        cells = list(state.register(use.register, self.bits))
        for index in range(use.offset, min(use.offset + use.size, len(cells))):
            new = moved[index - use.offset] if moved and index - use.offset < len(moved) else value
            cells[index] = new if use.certain else cells[index].joined(new)
        state.registers[use.register] = tuple(cells)

    def _store(self, state: State, offset: int, size: int, value: Content, moved: Sequence[Content] | None) -> None:
        for index in range(size):
            state.stack[offset + index] = moved[index] if moved and index < len(moved) else value

    def _set_flags(
        self, state: State, effect: InstructionEffects, moved: Sequence[Content] | None, writer: frozenset[int]
    ) -> None:
        restored = is_flags_copy(effect) and moved is not None and is_entry(moved, FLAGS_REGISTER)
        for name in effect.flags_written & set(FLAGS):
            origin = UNSURE if name in effect.flags_unsure else SET
            if name == "df" and effect.instruction.text == "cld":
                origin = CLEAR
            if restored:
                origin = UNSURE if name in STATUS else ENTRY
            state.flags[name] = Content(frozenset({origin}), writer)
        if effect.instruction.offset in self.called:
            state.flags.update({name: Content(frozenset({UNSURE}), writer) for name in STATUS})

    def copied(self, effect: InstructionEffects, state: State) -> tuple[Content, ...] | None:
        """The bytes that an instruction copies from a register or the stack to a register or the stack.

        None if it does more with them, or makes them visible: in memory, in a control, debug or segment register, or,
        if changed, in the flags.
        """
        text, stack = effect.instruction.text, _STACK_POINTERS[self.bits]
        targets = [use for use in effect.uses if use.written and use.register != stack]
        if not is_copy(effect) or not all(is_general(use.register) for use in targets):
            return None
        if not all(is_stack_access(access, self.bits) for access in effect.memory if access.read or access.written):
            return None
        if text.startswith("pushf"):
            as_was = all(state.flags[name].origins == {ENTRY} for name in ("df", "if", "ac"))
            return state.register(FLAGS_REGISTER, self.bits) if as_was else None
        loads = [access for access in effect.memory if access.read]
        if loads:
            cells = self.loaded(loads[0], state)
            return None if text.startswith("popf") and not is_entry(cells, FLAGS_REGISTER) else cells
        sources = [use for use in effect.uses if use.read and use.register not in ("ss", stack)]
        if len(sources) != 1 or not is_general(sources[0].register):
            return None
        (source,) = sources
        return state.register(source.register, self.bits)[source.offset : source.offset + source.size]

    def loaded(self, access: MemoryAccess, state: State) -> tuple[Content, ...]:
        """The bytes of an access to the stack."""
        unknown = Content(frozenset({GARBAGE}))
        start = state.depth + access.displacement
        return tuple(state.stack.get(start + index, unknown) for index in range(access.size))

    def _origin(self, effect: InstructionEffects, state: State) -> Origin:
        """The origin of the bytes that an instruction computes."""
        stack = _STACK_POINTERS[self.bits]
        loads = [access for access in effect.memory if access.read]
        takes_pointer = any(use.read and not use.written and use.register == stack for use in effect.uses)
        if (takes_pointer and not loads) or effect.instruction.text.startswith("enter"):
            return STACK_POINTER
        origins: set[Origin] = set()
        for use in effect.uses:
            if use.read and is_general(use.register):
                for content in state.register(use.register, self.bits)[use.offset : use.offset + use.size]:
                    origins |= content.origins
        for access in loads:
            for content in self.loaded(access, state) if is_stack_access(access, self.bits) else ():
                origins |= content.origins
        if STACK_POINTER in origins:
            return STACK_POINTER
        has_hole = bool(self.code.holes_of(effect.instruction))
        elsewhere = any(not is_stack_access(access, self.bits) for access in loads)
        return DERIVED if has_hole or elsewhere or origins - {CONSTANT} else CONSTANT


def is_entry(cells: Sequence[Content], register: str) -> bool:
    """Whether the bytes are these bytes of a register, with their values on entry."""
    return all(cell.origins == {(register, index)} for index, cell in enumerate(cells))


def is_copy(effect: InstructionEffects) -> bool:
    """Whether an instruction only moves data."""
    text = effect.instruction.text
    same = _SAME_LEA.fullmatch(text)
    return text.split(" ")[0] in ("push", "pop", "mov") or is_flags_copy(effect) or bool(same and same[1] == same[2])


def is_flags_copy(effect: InstructionEffects) -> bool:
    """Whether an instruction pushes or pops the flags register."""
    return effect.instruction.text.startswith(("pushf", "popf"))


def successors(effect: InstructionEffects) -> list[int]:
    """Where control may go next, as offsets in the code."""
    end = effect.instruction.offset + effect.instruction.size
    targets = [effect.target] if effect.target is not None and effect.kind != "call" else []
    return [*([end] if effect.falls_through else []), *targets]
