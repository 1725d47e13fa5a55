"""Symbols by name and by address, from a System.map or from the symbol table of an ELF file."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import ElfFile, Strings
from pvspec.kernel.files.layout import Buffer, Section
from pvspec.kernel.files.words import records
from pvspec.kernel.work import Work

_SYMBOL = {32: struct.Struct("<IIIBBH"), 64: struct.Struct("<IBBHQQ")}
_STT_SECTION, _STT_FILE = 3, 4
_STB_LOCAL, _STB_WEAK = 0, 2
SHN_LIVEPATCH = 0xFF20
"""The section index of a livepatch module's symbols that are the kernel's own (include/uapi/linux/elf.h)."""
_UNDEFINED = (0, SHN_LIVEPATCH)
MAX_SYMBOLS = 500_000
"""Symbols of one kernel, module or file of symbols; Debian's kernels have 160,000. One with more is refused."""
SYMBOL_WORK = 20
"""Units of work for a symbol: it is read, placed, and found by name and by address; and takes 450 bytes of memory."""
_MAX_MAP = 64 << 20
"""Bytes of a System.map, or of a copy of /proc/kallsyms, which has 20 MiB at most. A larger one is refused."""
_MAX_LINE = 1024
"""Bytes of one line of a System.map. A file with a longer one is refused."""


class Symbol(NamedTuple):
    """A symbol: its virtual address, its kind as nm(1) and /proc/kallsyms have it ("T", "d", …), its name."""

    address: int
    kind: str
    name: str


class SymbolTable:
    """The symbols of one image, in the order of their addresses.

    `source` says where they come from: "System.map", ".symtab", "kallsyms", "kallsyms, found" if data symbols that
    kallsyms lacks were found in the memory, or "none".
    """

    def __init__(self, source: str, symbols: Iterable[Symbol], end: int) -> None:
        """`end` is the address after the image, where the extent of the last symbol ends."""
        self.source = source
        self._symbols = sorted(symbols, key=_by_address)
        self._end = end

    def __repr__(self) -> str:
        return f"<SymbolTable {self.source}: {len(self._symbols)} symbols>"

    def __len__(self) -> int:
        """The number of symbols."""
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        """All symbols by ascending address; those at the same address in the order of the source."""
        return iter(self._symbols)

    @cached_property
    def _addresses(self) -> list[int]:
        return [symbol.address for symbol in self._symbols]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        """Of several symbols of one name the first global one is used, or else the first."""
        found = {name: address for address, _, name in reversed(self._symbols)}
        found.update((name, address) for address, kind, name in reversed(self._symbols) if kind.isupper())
        return found

    def address(self, name: str) -> int | None:
        """The virtual address of a symbol, preferably a global one; None if it is unknown."""
        return self._by_name.get(name)

    def extent(self, name: str) -> tuple[int, int] | None:
        """[start, end) of a symbol: it ends where another begins at a higher address, or with the image."""
        start = self.address(name)
        return None if start is None else (start, start + self.size_at(start))

    def size_at(self, address: int) -> int:
        """The bytes from an address to the next symbol at a higher one, or to the end of the image."""
        after = bisect_right(self._addresses, address)
        return (self._addresses[after] if after < len(self._symbols) else max(address, self._end)) - address

    def name_of(self, address: int) -> tuple[str, int] | None:
        """The symbol that holds `address`, and the offset in it in bytes; None below the first symbol.

        If several are at the same address, it is the first.
        """
        after = bisect_right(self._addresses, address)
        if not after or address >= self._end:
            return None
        start = self._addresses[after - 1]
        first = self._symbols[bisect_right(self._addresses, start - 1)]
        return first.name, address - start

    def parse_address(self, text: str) -> int:
        """The address that a text means: see `symbols.address`; raises ImageError, which says what is unknown."""
        from pvspec.kernel.symbols.address import parse_address

        return parse_address(self, text)

    @cached_property
    def _named(self) -> dict[str, list[Symbol]]:
        found: dict[str, list[Symbol]] = {}
        for symbol in self._symbols:
            found.setdefault(symbol.name, []).append(symbol)
        return found

    def named(self, name: str) -> Sequence[Symbol]:
        """All symbols of that name, by ascending address."""
        return self._named.get(name, ())

    def names(self) -> Iterable[str]:
        """Every name, once."""
        return self._named


def _by_address(symbol: Symbol) -> int:
    return symbol.address


def read_system_map(contents: Buffer, work: Work) -> Iterator[Symbol]:
    """The lines `address kind name` of a System.map; raises ImageError, also for Debian's placeholder file."""
    if len(contents) > _MAX_MAP:
        raise ImageError(f"has {len(contents)} bytes, which are too many for a System.map")
    text = contents[:]
    count = text.count(b"\n")
    if count > MAX_SYMBOLS:
        raise ImageError(f"has {count} lines, which are too many for a System.map")
    work.add(count * SYMBOL_WORK, f"{count} symbols")
    lines = text.removesuffix(b"\n").split(b"\n")
    try:
        for number, line in enumerate(lines, 1):
            yield _parse_line(number, line)
    except UnicodeError as error:
        raise ImageError(f"cannot be read as a System.map: {error}") from error


def _parse_line(number: int, line: bytes) -> Symbol:
    text = line.decode("utf-8") if len(line) <= _MAX_LINE else ""
    try:
        digits, kind, name = text.split()
        address = int(digits, 16)
        if 0 <= address < 1 << 64 and len(kind) == 1:
            return Symbol(address, kind, name)
    except ValueError:
        pass
    shown = line[:80].decode("utf-8", "replace")
    raise ImageError(f"line {number} is not a System.map line (address, kind, name): {shown!r}")


class RawSymbol(NamedTuple):
    """An entry of an ELF symbol table. `value` is an offset into section `section_index` in a relocatable file."""

    name: str
    value: int
    section_index: int
    binding: int
    type: int


def read_symtab(elf: ElfFile, work: Work) -> list[RawSymbol]:
    """The entries of the ELF symbol table in the order of the file, none if it was stripped; raises ImageError."""
    table = next((section for section in elf.sections if section.type == "SHT_SYMTAB"), None)
    if table is None:
        return []
    if table.link >= len(elf.sections):
        raise ImageError(f"symbol table {table.name} lacks its string table")
    layout = _SYMBOL[elf.bits]
    count, rest = divmod(table.size, layout.size)
    if rest or count > MAX_SYMBOLS:
        raise ImageError(f"symbol table {table.name} is truncated or too long ({table.size} bytes)")
    work.add(count * SYMBOL_WORK, f"{count} symbols")
    strings = elf.strings(elf.sections[table.link])
    unpack = _unpack_32 if elf.bits == 32 else _unpack_64
    return [unpack(strings, *fields) for fields in records(layout, elf.contents(table))]


def _unpack_32(strings: Strings, name: int, value: int, _size: int, info: int, _other: int, index: int) -> RawSymbol:
    return RawSymbol(strings.at(name), value, index, info >> 4, info & 15)


def _unpack_64(strings: Strings, name: int, info: int, _other: int, index: int, value: int, _size: int) -> RawSymbol:
    return RawSymbol(strings.at(name), value, index, info >> 4, info & 15)


def place_symbols(raw: Iterable[RawSymbol], sections: Sequence[Section], relocatable: bool) -> Iterator[Symbol]:
    """The symbols that are named, defined and in memory, at their virtual addresses."""
    for symbol in raw:
        if symbol.name and symbol.section_index not in _UNDEFINED and symbol.type not in (_STT_SECTION, _STT_FILE):
            section = sections[symbol.section_index] if symbol.section_index < len(sections) else None
            if not relocatable or section is None:
                yield Symbol(symbol.value, _kind(symbol, section), symbol.name)
            elif section.allocated:
                yield Symbol(section.address + symbol.value, _kind(symbol, section), symbol.name)


def _kind(symbol: RawSymbol, section: Section | None) -> str:
    """The letter that nm(1) prints."""
    if symbol.binding == _STB_WEAK:
        return "W"
    letter = _section_letter(section) if section else "a"
    return letter if symbol.binding == _STB_LOCAL else letter.upper()


def _section_letter(section: Section) -> str:
    if section.executable:
        return "t"
    if not section.in_file:
        return "b"
    return "d" if section.writable else "r"
