"""A kernel to try machines on: where it keeps what it knows of its CPU, read from its image."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pvspec.kernel import KernelImage, open_kernel
from pvspec.x86.decode import disassemble

from ..bare import PHYSICAL_OFFSET
from ..fetch import Unavailable

_FILES = (
    *("meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "l1tf", "mds", "tsx_async_abort", "itlb_multihit"),
    *("srbds", "mmio_stale_data", "retbleed", "spec_rstack_overflow", "gather_data_sampling", "reg_file_data_sampling"),
    *("indirect_target_selection", "tsa", "vmscape"),
)
"""Files in /sys/devices/system/cpu/vulnerabilities."""
_FUNCTIONS = {"gather_data_sampling": "gds"}  # where cpu_show_… is called otherwise
_STOPS = ("cpu_select_mitigations", "check_bugs")
_CAPABILITIES = 0x10A  # IA32_ARCH_CAPABILITIES
_FEW = 7  # instructions from its number to where it is read
_OUT_OF_THE_WAY = 160 << 20  # bytes into memory: a page that nothing uses while the kernel boots
_BUG_WORDS = 2  # NBUGINTS of kernels that do not name their data
_PTI_WORD = 7  # of features, which has PTI
_ABSOLUTE = re.compile(r"\[0x([0-9a-f]+)\]")


@dataclass(frozen=True)
class Subject:
    """A kernel of a package. Those of 32 bits name no data but what they export: what is needed is found by code."""

    package: Path
    image: KernelImage

    def found(self, name: str) -> int | None:
        """The address of a symbol, or of exported data; None if there is none of that name."""
        return self.image.resolve(name)

    def symbol(self, name: str) -> int:
        """As `found`; Unavailable if there is none of that name."""
        address = self.found(name)
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
        return next(found for name in _STOPS if (found := self.found(name)) is not None)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What /proc/cpuinfo calls each feature, by number; empty: it is not shown."""
        if table := self.image.symbols.extent("x86_cap_flags"):
            return self._names(table[0], (table[1] - table[0]) // self.pointer)
        of_bugs, of_pti = self._operands("cpu_show_meltdown")[:2]  # it asks for the bug, and then for PTI
        return self._names(self._table_of("fpu", "vme"), 32 * ((of_bugs - of_pti) // 4 + _PTI_WORD))

    @cached_property
    def bugs(self) -> tuple[str, ...]:
        """What /proc/cpuinfo calls each bug; they are numbered after the features."""
        if table := self.image.symbols.extent("x86_bug_flags"):
            return self._names(table[0], (table[1] - table[0]) // self.pointer)
        return self._names(self._table_of("f00f", "fdiv"), 32 * _BUG_WORDS)

    @property
    def words(self) -> int:
        """Words of capabilities: NCAPINTS + NBUGINTS."""
        return (len(self.features) + len(self.bugs)) // 32

    @cached_property
    def smt_control(self) -> int | None:
        """Where cpu_smt_control is; None if the kernel has none."""
        address = self.found("cpu_smt_control")
        if address is None and self.image.bits == 32 and self.found("cpu_smt_possible"):
            return next(iter(self._operands("cpu_smt_possible")), None)
        return address

    @cached_property
    def shows(self) -> Mapping[str, int]:
        """The functions that write the files in /sys/devices/system/cpu/vulnerabilities."""
        places = {file: self.found(f"cpu_show_{file}") or self._otherwise_called(file) for file in _FILES}
        return {file: place for file, place in places.items() if place}

    @cached_property
    def scratch(self) -> int:
        """A page that may be written to."""
        return self.found("empty_zero_page") or _OUT_OF_THE_WAY + self.offset

    @cached_property
    def capability_reads(self) -> Mapping[int, bool]:
        """Where IA32_ARCH_CAPABILITIES has just been read: by rdmsr (True), or by a function."""
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
        """The parameters that code of the kernel's own reads (struct obs_kernel_param); whether early."""
        form = struct.Struct("<QQi4x" if self.image.bits == 64 else "<IIi")
        start, end = self.found("__setup_start"), self.found("__setup_end")
        if start is None or end is None:
            start = end = self._inside_parameters(form)
            while self._is_parameter(form, start - form.size):
                start -= form.size
            while self._is_parameter(form, end):
                end += form.size
        return {
            self._string(name): bool(early) for name, _, early in form.iter_unpack(self.image.read(start, end - start))
        }

    def shown(self, words: tuple[int, ...]) -> tuple[list[str], list[str]]:
        """Flags and bugs as /proc/cpuinfo would list these words of capabilities."""
        names = [*self.features, *self.bugs]
        numbers = [number for number in numbers_in(words) if names[number]]
        first = len(self.features)
        return [names[n] for n in numbers if n < first], [names[n] for n in numbers if n >= first]

    # ---- what has no symbol

    def _otherwise_called(self, file: str) -> int | None:
        return self.found(f"cpu_show_{_FUNCTIONS[file]}") if file in _FUNCTIONS else None

    def _operands(self, function: str) -> list[int]:
        """The addresses in a function's operands, in order."""
        start, end = self.image.symbols.extent(function) or (0, 0)
        code = disassemble(self.image.read(start, end - start), self.image.bits, start)
        return [int(found, 16) for instruction in code for found in _ABSOLUTE.findall(instruction.text)]

    def _table_of(self, first: str, second: str) -> int:
        """Where two pointers to these strings follow each other."""
        for at in self._pointers_to(first):
            (following,) = self._numbers(at + self.pointer, 1)
            if self._inside(following) and self._string(following) == second:
                return at
        raise Unavailable(f"{self.image.name}: has no table of {first}, {second}")

    def _pointers_to(self, text: str) -> Iterator[int]:
        """Where there are pointers to a string, which may be the end of a longer one."""
        image = self.image
        for found in re.finditer(re.escape(text.encode()) + b"\0", image.memory):
            pointer = (image.base + found.start()).to_bytes(self.pointer, "little")
            at = image.memory.find(pointer)
            while at >= 0:
                if at % self.pointer == 0:
                    yield image.base + at
                at = image.memory.find(pointer, at + 1)

    def _inside_parameters(self, form: struct.Struct) -> int:
        """The place of one record in the table of parameters."""
        return next(at for at in self._pointers_to("nosmp") if self._is_parameter(form, at))

    def _is_parameter(self, form: struct.Struct, at: int) -> bool:
        name, function, early = form.unpack(self.image.read(at, form.size))
        return early in (0, 1) and self._inside(name) and self._inside(function) and self._string(name).isprintable()

    def _inside(self, address: int) -> bool:
        return self.image.base <= address < self.image.end - 64

    def _names(self, start: int, count: int) -> tuple[str, ...]:
        """The strings that a table of pointers leads to, in whole words of capabilities."""
        pointers = self._numbers(start, count // 32 * 32)
        return tuple(self._string(pointer) if pointer else "" for pointer in pointers)

    def _numbers(self, start: int, count: int) -> tuple[int, ...]:
        form = f"<{count}{'Q' if self.pointer == 8 else 'I'}"
        return struct.unpack(form, self.image.read(start, count * self.pointer))

    def _string(self, address: int) -> str:
        return self.image.read(address, 64).split(b"\0")[0].decode("latin-1")


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
