"""A second processor besides the one that pokes: its states in a site, and where each of its steps leads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pvspec.simulation.guest import DATA, STACKS, TEXT, Guest, Site
from pvspec.simulation.kernel_text import OPS
from pvspec.x86.decode import disassemble, read
from pvspec.x86.emulator.machine import BREAKPOINT, PAGE, REGISTERS, Executed

RIGHT, TORN, WRONG = "right", "torn", "wrong"

_STACK = STACKS[1]
_TOP = _STACK.start + PAGE - 64  # the stack pointer at a site's start; what is above must not change
_MAX_INSTRUCTIONS = 200
"""Instructions that the second processor of `simulate` may run at one site, where an op has about 8; if it runs longer,
that counts as wrong."""
_LONGEST = 15  # bytes of an instruction
_INTERRUPT_FLAG = 0x200
_CLOBBERS = {"eax": 1, "ecx": 2, "edx": 4}
_EIP, _ESP = REGISTERS.index("eip"), REGISTERS.index("esp")


@dataclass(frozen=True, eq=False, slots=True)
class CpuState:
    """The processor's state: its registers in the order of REGISTERS, its data and its stack.

    A SecondCpu has one object per state, so states compare and hash by identity.

    `fetched`: the next instruction's first byte, if it was fetched before the others. `detoured`: a breakpoint sent
    it to the copy of the site. `torn`: it ran an instruction of neither the old code nor the new. `end`: empty while
    it runs; RIGHT if it left the site correctly, TORN if so although it was torn, WRONG if incorrectly, else the
    exception that stopped it.
    """

    registers: tuple[int, ...]
    data: bytes
    stack: bytes
    fetched: int | None = None
    detoured: bool = False
    torn: bool = False
    end: str = ""

    @property
    def address(self) -> int:
        """The address of the next instruction."""
        return self.registers[_EIP]


class Step(NamedTuple):
    """Where a step leads, and the instruction of the site that ran, if one did."""

    state: CpuState
    executed: Executed | None


class SecondCpu:
    """A processor that runs one site of a guest, from its first byte until it has left it."""

    def __init__(self, guest: Guest, site: Site) -> None:
        self._guest, self.site = guest, site
        # It may write only its own data and stack; a write elsewhere is an exception.
        self._machine = guest.machine(writable=(DATA, _STACK))
        self._after = guest.text[site.end - TEXT.start :][:_LONGEST]
        self._states: dict[tuple[Any, ...], CpuState] = {}
        self._fetched: dict[tuple[CpuState, int], CpuState] = {}
        self._steps: dict[tuple[CpuState, bytes], Step] = {}
        self._sizes: dict[bytes, int] = {}
        self._intact: set[Executed] = set()
        self.start = self._start()
        new = guest.patched(site)
        self.outcomes = {self._outcome(self.finish(self.start, code)) for code in (site.original, new)}
        self._intact = {
            Executed(site.addr + i.offset, code[i.offset : i.offset + i.size])
            for code in (site.original, new)
            for i in disassemble(code, 32, site.addr)
        }
        self._steps.clear()  # these steps were not checked for torn instructions

    def fetch(self, state: CpuState, code: bytes) -> CpuState:
        """The state after one byte of the next instruction was fetched; `code` is the site's current code."""
        key = state, code[state.address - self.site.addr]
        if key not in self._fetched:
            self._fetched[key] = self._changed(state, fetched=key[1])
        return self._fetched[key]

    def in_site(self, state: CpuState) -> bool:
        """Whether its next instruction is in the site."""
        return not state.end and self.site.addr <= state.address < self.site.end

    def inside(self, state: CpuState) -> bool:
        """Whether it has entered the site and not left it: it is there, or in a function that will return to it."""
        return state != self.start and not state.end and not state.detoured

    def step(self, state: CpuState, code: bytes) -> Step:
        """Run one instruction of the site; or, outside it, run until it is back or has ended."""
        instruction = self._instruction(state, code) if self.in_site(state) else b""
        key = state, instruction
        if key not in self._steps:
            state = self._changed(state, fetched=None)
            self._steps[key] = self._run(state, instruction) if instruction else self._beyond(state)
        return self._steps[key]

    def finish(self, state: CpuState, code: bytes) -> CpuState:
        """Its final state, if the site's code does not change."""
        for _ in range(_MAX_INSTRUCTIONS):
            if state.end:
                return state
            state = self.step(state, code).state
        return self._changed(state, end=WRONG)

    # ----

    def _instruction(self, state: CpuState, code: bytes) -> bytes:
        window = code[state.address - self.site.addr :] + self._after
        if state.fetched is not None:
            window = bytes((state.fetched,)) + window[1:]
        return window[: self._size(window[:_LONGEST])]

    def _start(self) -> CpuState:
        own = {"ecx": 0x01010101, "edx": 0x02020202, "ebx": 0x03030303, "ebp": 0x05050505, "esi": 0x06060606}
        own |= {"edi": 0x07070707, "eax": OPS[self.site.op].argument, "esp": _TOP, "eip": self.site.addr}
        own |= {"eflags": _INTERRUPT_FLAG | 2}
        data = self._machine.read(DATA.start, DATA.size)
        return CpuState(tuple(own[name] for name in REGISTERS), data, bytes(range(256)) * (_STACK.size // 256))

    def _size(self, window: bytes) -> int:
        if window not in self._sizes:
            reading = read(window, 32)
            self._sizes[window] = reading.size if reading else len(window)
        return self._sizes[window]

    def _run(self, state: CpuState, instruction: bytes) -> Step:
        before = self._machine.read(state.address, len(instruction))
        self._machine.write(state.address, instruction)
        after, fault = self._go(state, 0, 1)
        self._machine.write(state.address, before)
        executed = Executed(state.address, instruction)
        trap = fault == BREAKPOINT and state.address in self._guest.detours
        if trap:
            after = self._changed(state, registers=_at(state, self._guest.detours[state.address]), detoured=True)
        elif fault:
            after = self._changed(state, end=fault)
        elif executed not in self._intact:
            after = self._changed(after, torn=True)
        if not after.end and not trap and not self._follows(state, after, len(instruction)):
            after = self._changed(after, end=WRONG)
        return Step(self._ended(after), executed)

    def _follows(self, state: CpuState, after: CpuState, size: int) -> bool:
        """Whether it is in the site or just after it, or in a function that the site called."""
        if self.site.addr <= after.address <= self.site.end:
            return True
        returns = state.address + size
        return after.registers[_ESP] == state.registers[_ESP] - 4 and self._top(after) == returns

    def _beyond(self, state: CpuState) -> Step:
        until = self.site.end if state.detoured else self._top(state)
        after, fault = self._go(state, until, _MAX_INSTRUCTIONS)
        if fault or after.address != until:
            return Step(self._changed(state, end=fault or WRONG), None)
        return Step(self._ended(after), None)

    def _go(self, state: CpuState, until: int, limit: int) -> tuple[CpuState, str]:
        self._machine.write(DATA.start, state.data)
        self._machine.write(_STACK.start, state.stack)
        stop = self._machine.run(dict(zip(REGISTERS, state.registers, strict=True)), until, limit)
        registers = tuple(self._machine.registers().values())
        data = self._machine.read(DATA.start, DATA.size)
        stack = self._machine.read(_STACK.start, _STACK.size)
        return self._changed(state, registers=registers, data=data, stack=stack), stop.fault

    def _changed(self, state: CpuState, **changes: Any) -> CpuState:
        """The state with some fields changed: the same object for the same values."""
        state = replace(state, **changes)
        values = tuple(getattr(state, name) for name in CpuState.__slots__)
        return self._states.setdefault(values, state)

    def _top(self, state: CpuState) -> int:
        offset = state.registers[_ESP] - _STACK.start
        return int.from_bytes(state.stack[offset : offset + 4], "little")

    def _ended(self, state: CpuState) -> CpuState:
        if state.end or state.address != self.site.end:
            return state
        if not self._intact:
            return self._changed(state, end=RIGHT)  # one of the two runs that define what is right
        if self._outcome(state) not in self.outcomes:
            return self._changed(state, end=WRONG)
        return self._changed(state, end=TORN if state.torn else RIGHT)

    def _outcome(self, state: CpuState) -> tuple[object, ...]:
        """What must be the same as without patching: live registers, the interrupt flag, data and stack."""
        live = {
            name: value & _INTERRUPT_FLAG if name == "eflags" else value
            for name, value in zip(REGISTERS, state.registers, strict=True)
            if not self.site.clobber & _CLOBBERS.get(name, 0) or (name == "eax" and OPS[self.site.op].result)
        }
        offset = max(state.registers[_ESP] - _STACK.start, 0)
        return tuple(live.items()), state.data, state.stack[offset:]


def _at(state: CpuState, address: int) -> tuple[int, ...]:
    """The state's registers, with this address as the next instruction's."""
    return (*state.registers[:_EIP], address, *state.registers[_EIP + 1 :])
