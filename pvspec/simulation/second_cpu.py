"""A second processor beside the one that pokes: where it can be in a site, and where each of its steps leads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pvspec.simulation.guest import DATA, STACKS, TEXT, Guest, Site
from pvspec.simulation.kernel_text import OPS
from pvspec.x86.decode import disassemble, read
from pvspec.x86.emulator.machine import BREAKPOINT, PAGE, REGISTERS, Executed

RIGHT, TORN, WRONG = "right", "torn", "wrong"

_STACK = STACKS[1]
_TOP = _STACK.start + PAGE - 64  # the stack pointer at a site's start; what lies above must stay
_LIMIT = 200  # instructions of a function behind an op; it has some 8
_LONGEST = 15  # bytes of an instruction
_INTERRUPT_FLAG = 0x200
_CLOBBERS = {"eax": 1, "ecx": 2, "edx": 4}
_EIP, _ESP = REGISTERS.index("eip"), REGISTERS.index("esp")


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """Where the processor is: its registers in the order of REGISTERS, its data and its stack.

    A SecondCpu has one object for each place, so they compare and hash by identity.

    `fetched`: the next instruction's first byte, if it was fetched before the others. `detoured`: a breakpoint sent
    it to the copy of the site. `torn`: it ran an instruction of neither the old code nor the new. `end`: empty as
    long as it goes on; RIGHT if it left the site as it has to, TORN if so although it was torn, WRONG if not, else
    the exception that stopped it.
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
        """That of the next instruction."""
        return self.registers[_EIP]


class Step(NamedTuple):
    """Where a step leads, and the instruction of the site that ran, if one did."""

    place: Place
    executed: Executed | None


class SecondCpu:
    """A processor that runs one site of a guest, from its first byte until it has left it."""

    def __init__(self, guest: Guest, site: Site) -> None:
        self._guest, self.site = guest, site
        # Nothing but its data and its stack is its own; a write elsewhere is an exception.
        self._machine = guest.machine(writable=(DATA, _STACK))
        self._behind = guest.text[site.end - TEXT.start :][:_LONGEST]
        self._places: dict[tuple[Any, ...], Place] = {}
        self._fetched: dict[tuple[Place, int], Place] = {}
        self._steps: dict[tuple[Place, bytes], Step] = {}
        self._sizes: dict[bytes, int] = {}
        self._whole: set[Executed] = set()
        self.start = self._start()
        new = guest.patched(site)
        self.outcomes = {self._outcome(self.finish(self.start, code)) for code in (site.original, new)}
        self._whole = {
            Executed(site.addr + i.offset, code[i.offset : i.offset + i.size])
            for code in (site.original, new)
            for i in disassemble(code, 32, site.addr)
        }
        self._steps.clear()  # in these nothing was torn

    def fetch(self, place: Place, code: bytes) -> Place:
        """The processor when it has fetched one byte of its next instruction; `code` is the site's as it is now."""
        key = place, code[place.address - self.site.addr]
        if key not in self._fetched:
            self._fetched[key] = self._changed(place, fetched=key[1])
        return self._fetched[key]

    def in_site(self, place: Place) -> bool:
        """Whether its next instruction is one of the site."""
        return not place.end and self.site.addr <= place.address < self.site.end

    def inside(self, place: Place) -> bool:
        """Whether it has begun with the site and not left it: it runs it, or what it calls will return to it."""
        return place != self.start and not place.end and not place.detoured

    def step(self, place: Place, code: bytes) -> Step:
        """Run one instruction of the site, or what lies beyond it until it is back or has come to its end."""
        instruction = self._instruction(place, code) if self.in_site(place) else b""
        key = place, instruction
        if key not in self._steps:
            place = self._changed(place, fetched=None)
            self._steps[key] = self._run(place, instruction) if instruction else self._beyond(place)
        return self._steps[key]

    def finish(self, place: Place, code: bytes) -> Place:
        """Its end, if the site's code stays as it is."""
        for _ in range(_LIMIT):
            if place.end:
                return place
            place = self.step(place, code).place
        return self._changed(place, end=WRONG)

    # ----

    def _instruction(self, place: Place, code: bytes) -> bytes:
        window = code[place.address - self.site.addr :] + self._behind
        if place.fetched is not None:
            window = bytes((place.fetched,)) + window[1:]
        return window[: self._size(window[:_LONGEST])]

    def _start(self) -> Place:
        own = {"ecx": 0x01010101, "edx": 0x02020202, "ebx": 0x03030303, "ebp": 0x05050505, "esi": 0x06060606}
        own |= {"edi": 0x07070707, "eax": OPS[self.site.op].argument, "esp": _TOP, "eip": self.site.addr}
        own |= {"eflags": _INTERRUPT_FLAG | 2}
        data = self._machine.read(DATA.start, DATA.size)
        return Place(tuple(own[name] for name in REGISTERS), data, bytes(range(256)) * (_STACK.size // 256))

    def _size(self, window: bytes) -> int:
        if window not in self._sizes:
            reading = read(window, 32)
            self._sizes[window] = reading.size if reading else len(window)
        return self._sizes[window]

    def _run(self, place: Place, instruction: bytes) -> Step:
        before = self._machine.read(place.address, len(instruction))
        self._machine.write(place.address, instruction)
        after, fault = self._go(place, 0, 1)
        self._machine.write(place.address, before)
        executed = Executed(place.address, instruction)
        trap = fault == BREAKPOINT and place.address in self._guest.detours
        if trap:
            after = self._changed(place, registers=_at(place, self._guest.detours[place.address]), detoured=True)
        elif fault:
            after = self._changed(place, end=fault)
        elif executed not in self._whole:
            after = self._changed(after, torn=True)
        if not after.end and not trap and not self._follows(place, after, len(instruction)):
            after = self._changed(after, end=WRONG)
        return Step(self._ended(after), executed)

    def _follows(self, place: Place, after: Place, size: int) -> bool:
        """Whether it is in the site or just behind, or in a function that it called from there."""
        if self.site.addr <= after.address <= self.site.end:
            return True
        returns = place.address + size
        return after.registers[_ESP] == place.registers[_ESP] - 4 and self._top(after) == returns

    def _beyond(self, place: Place) -> Step:
        until = self.site.end if place.detoured else self._top(place)
        after, fault = self._go(place, until, _LIMIT)
        if fault or after.address != until:
            return Step(self._changed(place, end=fault or WRONG), None)
        return Step(self._ended(after), None)

    def _go(self, place: Place, until: int, limit: int) -> tuple[Place, str]:
        self._machine.write(DATA.start, place.data)
        self._machine.write(_STACK.start, place.stack)
        stop = self._machine.run(dict(zip(REGISTERS, place.registers, strict=True)), until, limit)
        registers = tuple(self._machine.registers().values())
        data = self._machine.read(DATA.start, DATA.size)
        stack = self._machine.read(_STACK.start, _STACK.size)
        return self._changed(place, registers=registers, data=data, stack=stack), stop.fault

    def _changed(self, place: Place, **changes: Any) -> Place:
        """The place with some fields changed: the same object for the same values."""
        place = replace(place, **changes)
        values = tuple(getattr(place, name) for name in Place.__slots__)
        return self._places.setdefault(values, place)

    def _top(self, place: Place) -> int:
        offset = place.registers[_ESP] - _STACK.start
        return int.from_bytes(place.stack[offset : offset + 4], "little")

    def _ended(self, place: Place) -> Place:
        if place.end or place.address != self.site.end:
            return place
        if not self._whole:
            return self._changed(place, end=RIGHT)  # one of the two runs that say what is right
        if self._outcome(place) not in self.outcomes:
            return self._changed(place, end=WRONG)
        return self._changed(place, end=TORN if place.torn else RIGHT)

    def _outcome(self, place: Place) -> tuple[object, ...]:
        """What must be as it would have been: live registers, the interrupt flag, data and stack."""
        live = {
            name: value & _INTERRUPT_FLAG if name == "eflags" else value
            for name, value in zip(REGISTERS, place.registers, strict=True)
            if not self.site.clobber & _CLOBBERS.get(name, 0) or (name == "eax" and OPS[self.site.op].result)
        }
        offset = max(place.registers[_ESP] - _STACK.start, 0)
        return tuple(live.items()), place.data, place.stack[offset:]


def _at(place: Place, address: int) -> tuple[int, ...]:
    """The place's registers, with this address as the next instruction's."""
    return (*place.registers[:_EIP], address, *place.registers[_EIP + 1 :])
