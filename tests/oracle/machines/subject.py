"""A kernel to try machines on: where it keeps what it knows of its CPU, read from its image."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pvspec.kernel import KernelImage, open_kernel
from pvspec.x86.decode import disassemble

from ..bare import PHYSICAL_OFFSET
from ..fetch import Unavailable

_FILES = {
    "gather_data_sampling": ("gather_data_sampling", "gds"),
    **{
        name: (name,)
        for name in (
            *("meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "l1tf", "mds", "tsx_async_abort"),
            *("itlb_multihit", "srbds", "mmio_stale_data", "retbleed", "spec_rstack_overflow"),
            *("reg_file_data_sampling", "indirect_target_selection", "tsa", "vmscape"),
        )
    },
}
"""Files in /sys/devices/system/cpu/vulnerabilities, and what their functions are called after cpu_show_."""
_STOPS = ("cpu_select_mitigations", "check_bugs")
_CAPABILITIES = 0x10A  # IA32_ARCH_CAPABILITIES
_FEW = 7  # instructions from its number to where it is read
_OUT_OF_THE_WAY = 160 << 20  # bytes into memory: a page that nothing uses while the kernel boots


@dataclass(frozen=True)
class Subject:
    """A kernel of a package."""

    package: Path
    image: KernelImage

    def symbol(self, name: str) -> int:
        """A symbol's address; Unavailable if the kernel has none of that name."""
        address = self.image.symbols.address(name)
        if address is None:
            raise Unavailable(f"{self.image.name}: has no symbol {name}")
        return address

    @property
    def offset(self) -> int:
        """Virtual minus physical address of the kernel."""
        return PHYSICAL_OFFSET[self.image.machine]

    @property
    def pointer(self) -> int:
        """Bytes of a pointer."""
        return self.image.bits // 8

    @cached_property
    def decides(self) -> int:
        """Where all is known of the CPU and nothing decided yet, but for what the page tables need."""
        return next(found for name in _STOPS if (found := self.image.symbols.address(name)) is not None)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What /proc/cpuinfo calls each feature, by number; empty: it is not shown."""
        return self._names("x86_cap_flags")

    @cached_property
    def bugs(self) -> tuple[str, ...]:
        """What /proc/cpuinfo calls each bug; they are numbered after the features."""
        return self._names("x86_bug_flags")

    @property
    def words(self) -> int:
        """Words of capabilities: NCAPINTS + NBUGINTS."""
        return (len(self.features) + len(self.bugs)) // 32

    @cached_property
    def shows(self) -> Mapping[str, int]:
        """The functions that write the files in /sys/devices/system/cpu/vulnerabilities."""
        found = {}
        for file, names in _FILES.items():
            places = (self.image.symbols.address(f"cpu_show_{name}") for name in names)
            found[file] = next((place for place in places if place is not None), 0)
        return {file: place for file, place in found.items() if place}

    @cached_property
    def scratch(self) -> int:
        """A page that may be written to."""
        empty = self.image.symbols.address("empty_zero_page")
        return _OUT_OF_THE_WAY + self.offset if empty is None else empty

    @cached_property
    def capability_reads(self) -> Mapping[int, bool]:
        """Where IA32_ARCH_CAPABILITIES has just been read: by rdmsr (edx:eax), or by a function (True: rdmsr)."""
        base, memory = self.image.base, self.image.memory
        found: dict[int, bool] = {}
        for move in (b"\xb9", b"\xbf" if self.image.bits == 64 else b"\xb8"):  # into ecx; into the first argument
            code = move + _CAPABILITIES.to_bytes(4, "little")
            at = memory.find(code)
            while at >= 0:
                if any(start <= base + at < end for start, end in self.image.executable):
                    found.update(_read_after(bytes(memory[at : at + 64]), self.image.bits, base + at))
                at = memory.find(code, at + 1)
        return found

    @cached_property
    def parameters(self) -> Mapping[str, bool]:
        """The kernel's parameters that code of its own reads, as the table of them has them; whether early."""
        start, end = self.image.symbols.address("__setup_start"), self.image.symbols.address("__setup_end")
        if start is None or end is None:
            return {}
        form = "<QQi4x" if self.image.bits == 64 else "<IIi"
        records = struct.iter_unpack(form, self.image.read(start, end - start))
        return {self._string(name): bool(early) for name, _, early in records}

    def shown(self, words: tuple[int, ...]) -> tuple[list[str], list[str]]:
        """Flags and bugs as /proc/cpuinfo would list these words of capabilities."""
        names = [*self.features, *self.bugs]
        numbers = [number for number in numbers_in(words) if names[number]]
        first = len(self.features)
        return [names[n] for n in numbers if n < first], [names[n] for n in numbers if n >= first]

    def _names(self, table: str) -> tuple[str, ...]:
        extent = self.image.symbols.extent(table)
        if extent is None:
            raise Unavailable(f"{self.image.name}: has no symbol {table}")
        data = self.image.read(extent[0], (extent[1] - extent[0]) // (32 * self.pointer) * 32 * self.pointer)
        pointers = struct.unpack(f"<{len(data) // self.pointer}{'Q' if self.pointer == 8 else 'I'}", data)
        return tuple(self._string(pointer) if pointer else "" for pointer in pointers)

    def _string(self, address: int) -> str:
        return self.image.read(address, 64).split(b"\0")[0].decode()


def open_subject(package: Path) -> Subject:
    """The kernel of a package."""
    return Subject(package, open_kernel(package))


def numbers_in(words: tuple[int, ...]) -> Iterator[int]:
    """The numbers of the bits that are set."""
    return (32 * at + bit for at, word in enumerate(words) for bit in range(32) if word >> bit & 1)


def _read_after(code: bytes, bits: int, address: int) -> Iterator[tuple[int, bool]]:
    """Where the register is read whose number the first instruction has."""
    for count, instruction in enumerate(disassemble(code, bits, address)):
        name, after = instruction.text.split()[0], address + instruction.offset + instruction.size
        if name == "rdmsr" and code[0] == 0xB9:
            yield after, True
        elif name == "call" and code[0] != 0xB9:
            yield after, False
        elif count < _FEW and name not in ("ret", "jmp", "wrmsr", "rdmsr", "call"):
            continue
        return
