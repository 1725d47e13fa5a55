"""A kernel module as the kernel loads it: laid out, then relocated.

The layout is that of kernel/module/main.c, `__layout_sections` (Linux 6.1): first the core sections, then those whose
names begin with ".init", each in four groups: executable, read-only, read-only after init, writable; a group begins
on a page. Relocation is that of arch/x86/kernel/module.c. The kernel puts .data..percpu into the per-CPU area, at
an address that only a running kernel knows, and drops .modinfo and __versions: they are not placed here either.

A field whose symbol is not defined anywhere is left as it is in the file, and reported: the other sites can be patched
even if an exporting module is missing. Without a kernel this applies to every undefined symbol; it always applies to
those of a livepatch (section index SHN_LIVEPATCH), which kernel/livepatch resolves, possibly later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import ElfFile
from pvspec.kernel.files.layout import MAX_MODULE, FileRange, Layout, Section, coalesce, zeros
from pvspec.kernel.files.words import records
from pvspec.kernel.image.image import KernelImage, Unresolved
from pvspec.kernel.symbols.table import SHN_LIVEPATCH, RawSymbol, read_symtab
from pvspec.kernel.work import Work

DEFAULT_ADDRESS = {"i386": 0xF8000000, "x86_64": 0xFFFFFFFFC0000000}
"""The default load address of a module. x86_64: MODULES_VADDR of a kernel built with CONFIG_RANDOMIZE_BASE
(arch/x86/include/asm/pgtable_64_types.h). i386: the vmalloc area begins near here with 896 MiB of RAM or more."""

_PAGE = 4096
_MAX_RELOCATION_BYTES = 64 << 20
"""Bytes of all relocations of a module, which may share the same bytes of the file. A module with more is refused."""
_FIELD_WORK, _WAITING_WORK = 12, 20  # units: a field that is relocated, and one that waits for its symbol besides
_NAMED_WORK = 8  # a symbol that is looked up in the kernel
_NOT_LOADED = (".modinfo", "__versions")
_RO_AFTER_INIT = (".data..ro_after_init", "__jump_table")
_SHN_ABS = 0xFFF1
_STB_WEAK = 2
_SH_ADDRESS = {32: (12, "<I"), 64: (16, "<Q")}
_SH_SIZE = {32: (20, "<I"), 64: (32, "<Q")}
_RELOCATION = {
    ("SHT_REL", 32): struct.Struct("<II"),
    ("SHT_RELA", 64): struct.Struct("<QQq"),
}


_RELOCATION_SIZE = {32: 8, 64: 24}  # bytes


class Recipe(NamedTuple):
    """How a relocation type fills its field: size in bytes, whether it is relative to the field, and valid values."""

    size: int
    relative: bool
    low: int
    high: int


_WORD = (-(1 << 63), 1 << 64)
_SIGNED = (-(1 << 31), 1 << 31)
_RECIPES = {
    32: {1: Recipe(4, False, *_WORD), 2: Recipe(4, True, *_WORD), 4: Recipe(4, True, *_WORD)},
    64: {
        1: Recipe(8, False, *_WORD),
        2: Recipe(4, True, *_SIGNED),
        4: Recipe(4, True, *_SIGNED),
        10: Recipe(4, False, 0, 1 << 32),
        11: Recipe(4, False, *_SIGNED),
        24: Recipe(8, True, *_WORD),
    },
}
"""R_386_32, PC32, PLT32; R_X86_64_64, PC32, PLT32, 32, 32S, PC64: all types that the kernel's loader applies."""


class Relocation(NamedTuple):
    """One field: `offset` in its section, the number of its symbol; the addend is None if it is in the field."""

    offset: int
    type: int
    symbol: int
    addend: int | None


def load_module(
    elf: ElfFile, address: int | None, kernel: KernelImage | None, work: Work
) -> tuple[Layout, list[Unresolved]]:
    """Place a module's sections from `address` on and relocate them; raises ImageError.

    Returns the layout and the fields that wait for a symbol.
    """
    base = DEFAULT_ADDRESS[elf.machine] if address is None else address
    sections, span = _place(elf, base)
    memory = zeros(span, MAX_MODULE, work)
    for section in _loaded(sections):
        start = section.address - base
        memory[start : start + section.size] = elf.contents(section) or bytes(section.size)
    relocator = _Relocator(elf, sections, base, memory, kernel, work)
    tables = [section for section in sections if section.type in ("SHT_REL", "SHT_RELA")]
    applied = [table for table in tables if relocator.apply(table)]
    layout = Layout(
        base,
        memory,
        sections,
        coalesce((section.address, section.end) for section in _loaded(sections) if section.executable),
        [FileRange(section.offset, section.address, section.size) for section in _loaded(sections) if section.in_file],
        _header_edits(elf, sections, applied),
    )
    return layout, relocator.unresolved


def _loaded(sections: Sequence[Section]) -> Iterator[Section]:
    return (section for section in sections if section.allocated)


def _place(elf: ElfFile, base: int) -> tuple[Sequence[Section], int]:
    """The sections, those that are loaded at their addresses and no others allocated; and the bytes they span."""
    if base % _PAGE or not 0 <= base < 1 << elf.bits:
        raise ImageError(f"load address {base:#x} must be a multiple of the page size, {_PAGE} bytes")
    placed = [_unplace(section) for section in elf.sections]
    end, group = base, None
    for section in sorted(filter(_is_loaded, elf.sections), key=_group):
        end = _align(end, _PAGE) if _group(section) != group else end
        address = _align(end, section.alignment)
        placed[section.number] = section._replace(address=address)
        end, group = address + section.size, _group(section)
    if end > 1 << elf.bits:
        raise ImageError(f"module does not fit between load address {base:#x} and the end of memory")
    return placed, end - base


def _align(address: int, alignment: int) -> int:
    return -(-address // max(alignment, 1)) * max(alignment, 1)


def _is_loaded(section: Section) -> bool:
    return section.allocated and section.name not in _NOT_LOADED and not section.name.startswith(".data..percpu")


def _unplace(section: Section) -> Section:
    return section._replace(address=0, allocated=False)


def _group(section: Section) -> tuple[bool, int]:
    if section.executable:
        rank = 0
    elif section.name in _RO_AFTER_INIT:
        rank = 2
    else:
        rank = 3 if section.writable else 1
    return section.name.startswith(".init"), rank


def _header_edits(elf: ElfFile, sections: Sequence[Section], applied: Sequence[Section]) -> dict[int, bytes]:
    """Set each loaded section's address, and empty the relocation sections that have been applied."""
    address, address_format = _SH_ADDRESS[elf.bits]
    size, size_format = _SH_SIZE[elf.bits]
    edits = {
        _header(elf, section) + address: struct.pack(address_format, section.address) for section in _loaded(sections)
    }
    edits.update((_header(elf, section) + size, struct.pack(size_format, 0)) for section in applied)
    return edits


def _header(elf: ElfFile, section: Section) -> int:
    return elf.section_table + section.number * elf.section_header_size


class _Relocator:
    def __init__(
        self,
        elf: ElfFile,
        sections: Sequence[Section],
        base: int,
        memory: bytearray,
        kernel: KernelImage | None,
        work: Work,
    ) -> None:
        self._elf, self._sections, self._base, self._memory = elf, sections, base, memory
        self._kernel, self._work = kernel, work
        self._symbols = read_symtab(elf, work)
        work.add(len(self._symbols) * _NAMED_WORK, f"resolving {len(self._symbols)} symbols")
        self._values = [self._value(number, symbol) for number, symbol in enumerate(self._symbols)]
        self._mask = (1 << elf.bits) - 1
        self._bytes = 0
        self.unresolved: list[Unresolved] = []

    def _value(self, number: int, symbol: RawSymbol) -> int | None:
        """The value that `simplify_symbols` gives a symbol; None if it is unknown."""
        if symbol.section_index == _SHN_ABS or not number:
            return symbol.value
        if symbol.section_index == SHN_LIVEPATCH:
            return None
        if not symbol.section_index:
            return self._undefined(symbol)
        section = self._section(symbol.section_index, f"symbol {symbol.name}")
        return section.address + symbol.value if section.allocated else None

    def _undefined(self, symbol: RawSymbol) -> int | None:
        if self._kernel is None:
            return None
        address = self._kernel.resolve(symbol.name)
        return 0 if address is None and symbol.binding == _STB_WEAK else address

    def _section(self, index: int, what: str) -> Section:
        if index >= len(self._sections):
            raise ImageError(f"{what} is in section {index}, which does not exist or which modules cannot have")
        return self._sections[index]

    def apply(self, table: Section) -> bool:
        """Apply a relocation section; False if it is for a section that is not loaded."""
        target = self._section(table.info, f"what {table.name} is for")
        if not target.allocated:
            return False
        if not target.in_file:
            raise ImageError(f"{table.name} relocates {target.name}, which lacks contents in the file")
        self._check_count(table)
        for relocation in self._relocations(table):
            self._relocate(table, target, relocation)
        return True

    def _check_count(self, table: Section) -> None:
        """Several sections may share the same bytes of the file, so its size does not bound them."""
        self._bytes += table.size
        if self._bytes > _MAX_RELOCATION_BYTES:
            raise ImageError(f"relocations take more than {_MAX_RELOCATION_BYTES >> 20} MiB: no module has so many")
        self._work.add(table.size // _RELOCATION_SIZE[self._elf.bits] * _FIELD_WORK, f"applying {table.name}")

    def _relocations(self, table: Section) -> Iterator[Relocation]:
        layout = _RELOCATION.get((str(table.type), self._elf.bits))
        if layout is None or table.size % layout.size:
            raise ImageError(f"relocation section {table.name} is truncated, or of a type that x86 does not use")
        fields = records(layout, self._elf.contents(table))
        if self._elf.bits == 32:
            return (Relocation(offset, info & 0xFF, info >> 8, None) for offset, info in fields)
        return (Relocation(offset, info & 0xFFFFFFFF, info >> 32, addend) for offset, info, addend in fields)

    def _relocate(self, table: Section, target: Section, relocation: Relocation) -> None:
        if not relocation.type:  # R_386_NONE, R_X86_64_NONE
            return
        recipe = _RECIPES[self._elf.bits].get(relocation.type)
        if recipe is None:
            raise ImageError(f"{table.name}: relocation type {relocation.type} is not one that the kernel applies")
        if relocation.symbol >= len(self._values) or relocation.offset + recipe.size > target.size:
            raise ImageError(f"{table.name}: relocation at {relocation.offset:#x} points outside its tables")
        place = target.address + relocation.offset
        value = self._values[relocation.symbol]
        if value is None:
            self._work.add(_WAITING_WORK, "keeping fields that wait for a symbol")
            self.unresolved.append(Unresolved(place, recipe.size, self._name(relocation.symbol)))
        else:
            self._fill(table, recipe, place, value, relocation.addend)

    def _name(self, number: int) -> str:
        """What messages call a symbol: a section's symbol by the name of the section."""
        symbol = self._symbols[number]
        if symbol.name or symbol.section_index >= len(self._sections):
            return symbol.name
        return self._sections[symbol.section_index].name

    def _fill(self, table: Section, recipe: Recipe, place: int, value: int, addend: int | None) -> None:
        start = place - self._base
        end = start + recipe.size
        if addend is None:
            addend = int.from_bytes(self._memory[start:end], "little")
        value = value + addend - (place if recipe.relative else 0) & self._mask
        if self._elf.bits == 64 and recipe.low < 0 and value >> 63:
            value -= 1 << 64
        if not recipe.low <= value < recipe.high:
            raise ImageError(
                f"{table.name}: the field at {place:#x} does not reach its symbol: load the module nearer to its kernel"
            )
        self._memory[start:end] = (value & (1 << 8 * recipe.size) - 1).to_bytes(recipe.size, "little")
