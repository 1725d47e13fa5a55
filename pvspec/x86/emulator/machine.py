"""An i386 with paging, in an emulator, unicorn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pvspec.x86.emulator import MAX_TRANSLATED, map_memory

KERNEL = 0xC0000000  # PAGE_OFFSET: kernel address minus physical address
PAGE = 4096  # bytes
REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags")
BREAKPOINT = "breakpoint"
INT3 = b"\xcc"

_PRESENT, _WRITABLE = 1, 2  # of an entry of a page table
_CR0 = 1 << 31 | 1 << 16 | 1  # paging, write protection for the kernel too, protected mode
_EXCEPTIONS = {
    0: "divide error",
    1: "debug exception",
    3: BREAKPOINT,
    4: "overflow",
    5: "bound range exceeded",
    6: "invalid opcode",
    8: "double fault",
    10: "invalid TSS",
    11: "segment not present",
    12: "stack fault",
    13: "general protection fault",
    14: "page fault",
}
_LONGEST = 15  # bytes of an instruction


class Region(NamedTuple):
    """Memory at the kernel addresses from `start` on, `size` bytes, both whole pages; `writable` by the kernel."""

    start: int
    size: int
    writable: bool = False


class Executed(NamedTuple):
    """An instruction that ran: its address, and its bytes in memory at that time."""

    address: int
    code: bytes


class Stop(NamedTuple):
    """Where a run ended, and why: `fault` names an exception, and is empty without one.

    `address` is that of the instruction that failed, or of the breakpoint itself; else that of the next instruction.
    """

    address: int
    fault: str = ""


class Machine:
    """Memory and page tables, and a processor whose registers are set for each run.

    At `tables`, which is in one of the regions, are the page directory and a page table for each 4 MiB that contains
    `regions` or `windows`. A window is an address at which nothing is mapped yet.
    """

    def __init__(self, regions: Sequence[Region], tables: int, windows: Sequence[int] = ()) -> None:
        import unicorn
        from unicorn import x86_const

        self._unicorn, self._x86 = unicorn, x86_const
        self._engine: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self._engine.ctl_set_tcg_buffer_size(MAX_TRANSLATED)
        self._ids = [getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in REGISTERS]
        self.trace: list[Executed] = []
        self._stop: Stop | None = None
        for region in regions:
            map_memory(self._engine, region.start - KERNEL, region.size)
        self._page_tables = self._enable_paging(regions, tables, windows)
        self._engine.hook_add(unicorn.UC_HOOK_CODE, self._executed)
        self._engine.hook_add(unicorn.UC_HOOK_INTR, self._interrupted)
        self._pristine = self._engine.context_save()

    def read(self, address: int, size: int) -> bytes:
        """The bytes at a kernel address."""
        return bytes(self._engine.mem_read(address - KERNEL, size))

    def write(self, address: int, data: bytes) -> None:
        """Write at a kernel address, ignoring protection."""
        self._engine.mem_write(address - KERNEL, data)
        # Otherwise the emulator would continue with its translation of the old bytes.
        self._engine.ctl_remove_cache(address, address + len(data))

    def entry(self, address: int) -> int:
        """The kernel address of the page table's entry for an address."""
        return self._page_tables[address >> 22] + (address >> 12 & 1023) * 4

    def registers(self) -> dict[str, int]:
        """The values of REGISTERS."""
        return dict(zip(REGISTERS, self._engine.reg_read_batch(self._ids), strict=True))

    def run(self, registers: Mapping[str, int], until: int, limit: int) -> Stop:
        """Run from eip on until it is at an address, for at most `limit` instructions; `trace` holds what ran."""
        self.trace, self._stop = [], None
        # A second exception in a row would be a double fault, so each run starts with a processor without one.
        self._engine.context_restore(self._pristine)
        self._engine.reg_write_batch([(id, registers[name]) for id, name in zip(self._ids, REGISTERS, strict=True)])
        try:
            self._engine.emu_start(registers["eip"], until, count=limit)
        except self._unicorn.UcError as error:
            return Stop(self._eip(), self._refusal(error))
        return self._stop or Stop(self._eip())

    # ----

    def _enable_paging(self, regions: Sequence[Region], directory: int, windows: Sequence[int]) -> dict[int, int]:
        pages = [(page, region.writable) for region in regions for page in _pages(region)]
        slots = sorted({address >> 22 for address in (*windows, *(page for page, _ in pages))})
        tables = {slot: directory + PAGE * number for number, slot in enumerate(slots, 1)}
        for slot, table in tables.items():
            self._set_entry(directory + slot * 4, table, True)
        for page, writable in pages:
            self._set_entry(tables[page >> 22] + (page >> 12 & 1023) * 4, page, writable)
        self._engine.reg_write(self._x86.UC_X86_REG_CR3, directory - KERNEL)
        self._engine.reg_write(self._x86.UC_X86_REG_CR0, _CR0)
        return tables

    def _set_entry(self, place: int, page: int, writable: bool) -> None:
        entry = page - KERNEL | _PRESENT | (_WRITABLE if writable else 0)
        self._engine.mem_write(place - KERNEL, entry.to_bytes(4, "little"))

    def _eip(self) -> int:
        return int(self._engine.reg_read(self._x86.UC_X86_REG_EIP))

    def _refusal(self, error: Any) -> str:
        if error.errno == self._unicorn.UC_ERR_INSN_INVALID:
            return _EXCEPTIONS[6]
        return "access to missing physical memory"

    def _executed(self, _engine: object, address: int, size: int, _data: object) -> None:
        if not self.trace or self.trace[-1].address != address:  # a rep is reported for each iteration
            # an invalid instruction is reported with an absurd size
            self.trace.append(Executed(address, self._fetched(address, min(size, _LONGEST))))

    def _fetched(self, address: int, size: int) -> bytes:
        try:
            return self.read(address, size)
        except self._unicorn.UcError:
            return b""

    def _interrupted(self, engine: Any, number: int, _data: object) -> None:
        fault = _EXCEPTIONS.get(number, f"interrupt {number:#x}")
        address = self._eip()
        if fault == BREAKPOINT:
            address -= 1
        elif number == 14:
            fault += f" at {engine.reg_read(self._x86.UC_X86_REG_CR2):#x}"
        self._stop = Stop(address, fault)
        engine.emu_stop()


def _pages(region: Region) -> Iterator[int]:
    yield from range(region.start, region.start + region.size, PAGE)
