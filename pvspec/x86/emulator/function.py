"""Run code in a CPU emulator, unicorn.

The emulated CPU is in ring 0, in 32-bit or in 64-bit mode, without paging. Memory that the code touches and that
was not set holds bytes made from its address and the state's seed.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pvspec.engine.value import Value
from pvspec.x86.emulator import MAX_TRANSLATED, map_memory

PAGE = 0x1000
MAX_INSTRUCTIONS = 10_000
"""Instructions that code which is proven may run without a halt or a call; what runs longer does not end, it says."""
MAX_HALTS = 64
"""Halts and calls of code that is proven, in one run; what makes more is reported as not ending."""
_HLT = b"\xf4"
CARRY = 0x8D5  # the status flags: CF, PF, AF, ZF, SF, OF
TRAP, INTERRUPT, DIRECTION = 0x100, 0x200, 0x400
FAULT = "a memory fault"
_FIXED = 0x2  # a bit of the flags register that is always 1
_SINGLE_STEP = 1  # the interrupt that the trap flag raises
_HLT = b"\xf4"

GENERAL = {
    32: ("eax", "ecx", "edx", "ebx", "esi", "edi", "ebp"),
    64: ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16))),
}
CONTROL = ("cr0", "cr2", "cr3", "cr4")
BASE = {32: 0xC0100000, 64: 0xFFFFFFFF81000000}  # of the text; a hole of 4 bytes reaches all that follows
_TEXT, _REFERENCE, _FUNCTIONS, _DATA, _STACK = 0, 0x80000, 0x100000, 0x200000, 0x800000  # from there on
_SEGMENTS = {32: {"fs": 0x340000, "gs": 0x780000}, 64: {"fs": 0x123400000000, "gs": 0xFFFF888000340000}}
_GDT = 0x1000


@dataclass(frozen=True)
class State:
    """A machine before a run: general registers, flags, control registers, and bytes of memory; `seed` is the rest."""

    registers: Mapping[str, int]
    flags: int
    control: Mapping[str, int]
    memory: Mapping[int, bytes]
    seed: int


class Outcome(Value):
    """A machine after a run.

    `control` has the registers that the state had. `stop`: `end` if the code's end was reached, else what stopped it;
    `at` is the offset in the code. `written`: changed bytes by address. `calls`: the functions that were called.
    """

    registers: Mapping[str, int]
    flags: int
    control: Mapping[str, int]
    written: Mapping[int, int]
    stop: str
    at: int
    calls: tuple[str, ...]


@dataclass
class Function:
    """A function that code may call: only what it may destroy is known."""

    name: str
    address: int
    clobbers: frozenset[str] = field(default_factory=frozenset)


class Emulator:
    """One emulated CPU; each run starts from a state of its own."""

    def __init__(self, bits: int) -> None:
        import unicorn.x86_const

        self._unicorn: Any = unicorn
        self._names: Any = unicorn.x86_const
        self.bits = bits
        self.base = BASE[bits]
        self._stack = self.base + _STACK
        mode = self._unicorn.UC_MODE_32 if bits == 32 else self._unicorn.UC_MODE_64
        self._cpu: Any = self._unicorn.Uc(self._unicorn.UC_ARCH_X86, mode)
        self._cpu.ctl_set_tcg_buffer_size(MAX_TRANSLATED)
        self._general = [self._register(name) for name in (*GENERAL[bits], "esp" if bits == 32 else "rsp", "eflags")]
        self._ip = self._register("eip" if bits == 32 else "rip")
        self._sp = self._register("esp" if bits == 32 else "rsp")
        self._pages: set[int] = set()
        self._before: dict[int, int] = {}
        self._seed = 0
        self._loaded: dict[int, bytes] = {}
        self._interrupt: int | None = None
        self._set_up()
        self._control = {name: int(self._cpu.reg_read(self._register(name))) for name in CONTROL}

    def _register(self, name: str) -> int:
        return int(getattr(self._names, f"UC_X86_REG_{name.upper()}"))

    def _set_up(self) -> None:
        cpu, unicorn = self._cpu, self._unicorn
        if self.bits == 64:
            cpu.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)  # else addresses would be cut to 52 bits
        for start in (_TEXT, _REFERENCE, _FUNCTIONS, _STACK - 0x8000):
            map_memory(cpu, self.base + start, 0x10000)
        cpu.mem_write(self.base + _FUNCTIONS, _HLT * 0x10000)
        if self.bits == 64:
            for name, base in _SEGMENTS[64].items():
                cpu.reg_write(self._register(f"{name}_base"), base)
        else:
            self._segments()
        cpu.hook_add(unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED, self._map)
        cpu.hook_add(unicorn.UC_HOOK_MEM_WRITE, self._note)
        cpu.hook_add(unicorn.UC_HOOK_INTR, self._interrupted)

    def _segments(self) -> None:
        """In 32-bit mode only a descriptor gives a segment its base."""
        bases = _SEGMENTS[32]
        table = bytes(8) + b"".join(
            _descriptor(base, access)
            for base, access in ((0, 0x9B), (0, 0x93), (bases["fs"], 0x93), (bases["gs"], 0x93))
        )
        map_memory(self._cpu, _GDT, PAGE)
        self._cpu.mem_write(_GDT, table)
        self._cpu.reg_write(self._register("gdtr"), (0, _GDT, len(table) - 1, 0))
        for index, names in enumerate((("cs",), ("ds", "es", "ss"), ("fs",), ("gs",)), 1):
            for name in names:
                self._cpu.reg_write(self._register(name), 8 * index)

    # ---- addresses

    def segment_base(self, segment: str | None) -> int:
        """What a segment adds to an address."""
        return _SEGMENTS[self.bits].get(segment or "", 0)

    def function_address(self, index: int) -> int:
        """The address of the function of that number."""
        return self.base + _FUNCTIONS + 16 * index

    def data_address(self, index: int) -> int:
        """The address of the data of that number."""
        return self.base + _DATA + PAGE * index + 0x104

    @property
    def stack(self) -> int:
        """The stack pointer before a run."""
        return self._stack

    def site_address(self, number: int) -> int:
        """An address for a site; equal numbers give equal addresses, others may cross a page's end."""
        return self.base + _TEXT + 0x100 + number * 2731 % 0xE000

    def reference_address(self, number: int) -> int:
        """Like `site_address`, for code that is compared with the code at the site."""
        return self.site_address(number) + _REFERENCE

    def control(self, name: str) -> int:
        """The value of a control register that a state does not set."""
        return self._control[name]

    # ---- running

    def run(self, code: bytes, address: int, state: State, functions: Mapping[str, Function]) -> Outcome:
        """Run code at an address until its end, or until something stops it."""
        cpu = self._cpu
        self._begin(code, address, state)
        places = {function.address: function for function in functions.values()}
        calls: list[str] = []
        at, end, stop = address, address + len(code), ""
        halts = 0
        while not stop:
            halts += 1
            try:
                cpu.emu_start(at, end, 0, MAX_INSTRUCTIONS)
            except self._unicorn.UcError as error:
                stop = FAULT if "Invalid memory" in str(error) else str(error)
            at = int(cpu.reg_read(self._ip))
            if self._interrupt is not None:
                stop = f"interrupt {self._interrupt}"
            elif at == end:
                stop = "end"
            elif not stop and (halts > MAX_HALTS or bytes(cpu.mem_read(at - 1, 1)) != _HLT):
                stop = "it does not end"
            elif not stop:
                stop, at = self._halted(at, (address, end), places, calls, state)
        return self._outcome(stop, at - address, tuple(calls), state)

    def _halted(
        self, at: int, site: tuple[int, int], places: Mapping[int, Function], calls: list[str], state: State
    ) -> tuple[str, int]:
        """Continue after a `hlt`: in a called function, which then returns, or in the code, which an interrupt ends."""
        function = places.get(at - 1)
        if function is None:
            return ("", at) if site[0] < at < site[1] else ("ran outside the code", at)
        size = self.bits // 8
        top = int(self._cpu.reg_read(self._sp))
        back = int.from_bytes(self._cpu.mem_read(top, size), "little")
        if not site[0] < back <= site[1]:
            return f"goes to {function.name}", at - 1
        calls.append(function.name)
        self._destroy(function, state)
        self._cpu.reg_write(self._sp, top + size)
        self._cpu.reg_write(self._ip, back)
        return ("end" if back == site[1] else ""), back

    def _destroy(self, function: Function, state: State) -> None:
        chance = random.Random(f"{state.seed} {function.name}")
        for name in sorted(function.clobbers):
            self._cpu.reg_write(self._register(name), chance.getrandbits(self.bits))
        flags = self._register("eflags")
        self._cpu.reg_write(flags, (self._cpu.reg_read(flags) & ~CARRY) | (chance.getrandbits(12) & CARRY))

    def _begin(self, code: bytes, address: int, state: State) -> None:
        cpu = self._cpu
        for page in self._pages:
            cpu.mem_unmap(page, PAGE)
        self._pages, self._before, self._seed, self._interrupt = set(), {}, state.seed, None
        cpu.mem_write(self._stack - 0x100, self._filling(self._stack)[:0x200])
        for place, data in state.memory.items():
            for page in {place & -PAGE, (place + len(data) - 1) & -PAGE}:
                self._add_page(page)
            cpu.mem_write(place, data)
        self._load(code, address)
        values = [*(state.registers[name] for name in GENERAL[self.bits]), self._stack, state.flags | _FIXED]
        cpu.reg_write_batch(list(zip(self._general, values, strict=True)))
        for name, value in state.control.items():
            cpu.reg_write(self._register(name), value)

    def _load(self, code: bytes, address: int) -> None:
        if self._loaded.get(address) != code:
            self._cpu.mem_write(address - 1, _HLT + code + _HLT)
            self._cpu.ctl_flush_tb()  # earlier translations of code there
            self._loaded[address] = code

    def _outcome(self, stop: str, at: int, calls: tuple[str, ...], state: State) -> Outcome:
        cpu = self._cpu
        *general, sp, flags = cpu.reg_read_batch(self._general)
        registers = dict(zip(GENERAL[self.bits], map(int, general), strict=True))
        registers["stack pointer"] = int(sp)
        control = {name: int(cpu.reg_read(self._register(name))) for name in state.control}
        written = {}
        for place, before in self._before.items():
            (now,) = cpu.mem_read(place, 1)
            if now != before:
                written[place] = now
        return Outcome(registers, int(flags), control, written, stop, at, calls)

    def read(self, address: int, size: int) -> int:
        """A number in memory after the last run."""
        self._add_page(address & -PAGE)
        self._add_page((address + size - 1) & -PAGE)
        return int.from_bytes(self._cpu.mem_read(address, size), "little")

    # ---- memory

    def _filling(self, page: int) -> bytes:
        return random.Random(f"{self._seed} {page}").randbytes(PAGE).translate(_CORNERS)

    def _add_page(self, page: int) -> None:
        mine = range(self.base, self.base + _DATA)
        if page in self._pages or page in mine or self._stack - 0x8000 <= page < self._stack + 0x8000:
            return
        map_memory(self._cpu, page, PAGE)
        self._cpu.mem_write(page, self._filling(page))
        self._pages.add(page)

    def _map(self, cpu: object, access: int, address: int, size: int, value: int, data: object) -> bool:
        """Map a page when it is first touched; except the last page of the address space, which unicorn cannot map."""
        mask = (1 << self.bits) - 1
        pages = {place & mask & -PAGE for place in (address, address + size - 1)}
        if mask & -PAGE in pages:
            return False
        for page in pages:
            self._add_page(page)
        return True

    def _note(self, cpu: object, access: int, address: int, size: int, value: int, data: object) -> None:
        if not self._map(
            cpu, access, address, size, value, data
        ):  # this hook is called before the one for unmapped memory
            return
        for place in (step & ((1 << self.bits) - 1) for step in range(address, address + size)):
            if place not in self._before:
                self._before[place] = int(self._cpu.mem_read(place, 1)[0])

    def _interrupted(self, cpu: object, number: int, data: object) -> None:
        if number != _SINGLE_STEP:  # the trap flag is for debuggers: it is ignored
            self._interrupt = number
            self._cpu.emu_stop()


def _descriptor(base: int, access: int) -> bytes:
    return struct.pack("<HHBBBB", 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, access, 0xCF, base >> 24 & 0xFF)


_CORNERS = bytes((0, 1, 255, byte)[byte & 3] for byte in range(256))  # bytes that code compares with are frequent
