"""The headers of ELF files for x86: the file's own, those of its sections and of its segments (elf(5)).

Headers are bounded here only as far as is needed to read them; the caller checks what they point to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.words import integers, records

MAGIC = b"\x7fELF"
ET_REL, ET_CORE = 1, 4
PT_LOAD, PT_NOTE = 1, 4

_IDENT = 16  # bytes, of which [4] is the class and [5] the byte order
_BITS, _LITTLE_ENDIAN = {1: 32, 2: 64}, 1
_PN_XNUM = 0xFFFF  # the number of segments is in the first section's header
_FILE = {32: struct.Struct("<2HI3II6H"), 64: struct.Struct("<2HI3QI6H")}
_SECTION = {32: struct.Struct("<10I"), 64: struct.Struct("<2I4Q2I2Q")}
_SEGMENT = {32: struct.Struct("<8I"), 64: struct.Struct("<2I6Q")}
_SECTION_TYPES = {
    0: "SHT_NULL",
    1: "SHT_PROGBITS",
    2: "SHT_SYMTAB",
    3: "SHT_STRTAB",
    4: "SHT_RELA",
    7: "SHT_NOTE",
    8: "SHT_NOBITS",
    9: "SHT_REL",
}


class SectionHeader(NamedTuple):
    """An entry of the section header table. `name` is an offset into the table of section names."""

    name: int
    type: str | int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


class ProgramHeader(NamedTuple):
    """An entry of the program header table: a segment. Addresses and sizes are in bytes."""

    type: int
    flags: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int


class ElfHeaders:
    """The headers of a file, read from a stream. `type` and `machine` are e_type and e_machine, `size` is in bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        """Raises ImageError if the file's own header cannot be read, or is not that of a little-endian machine."""
        self._stream = stream
        stream.seek(0, 2)  # a mapping returns nothing, up to Python 3.12
        self.size = stream.tell()
        ident = self._read(0, _IDENT)
        if not ident.startswith(MAGIC) or len(ident) < _IDENT or ident[4] not in _BITS:
            raise ImageError("damaged ELF file: it does not begin as one for 32 or 64 bits does")
        if ident[5] != _LITTLE_ENDIAN:
            raise ImageError("ELF file is for a big-endian machine, not for i386 or x86_64")
        self.bits = _BITS[ident[4]]
        layout = _FILE[self.bits]
        header = self._read(_IDENT, layout.size)
        if len(header) < layout.size:
            raise ImageError(f"damaged ELF file: its header is cut short after {_IDENT + len(header)} bytes")
        self.type, self.machine, _, _, self.program_table, self.section_table, *rest = integers(layout, header)
        _, _, self.program_header_size, self._segments, self.section_header_size, self._sections, names = rest
        self.section_names = names

    def sections(self, most: int) -> list[SectionHeader]:
        """The section headers; raises ImageError if there are more than `most`, or some are outside the file."""
        count = self._sections
        if not count and self.section_table:
            count = self._first_section().size
        rows = self._table("section", _SECTION[self.bits], self.section_table, self.section_header_size, count, most)
        return list(map(_section, rows))

    def segments(self, most: int) -> Iterator[ProgramHeader]:
        """The program headers; raises ImageError if there are more than `most`, or some are outside the file."""
        count = self._segments if self._segments < _PN_XNUM else self._first_section().info
        rows = self._table("program", _SEGMENT[self.bits], self.program_table, self.program_header_size, count, most)
        return map(_segment_32 if self.bits == 32 else _segment_64, rows)

    def _first_section(self) -> SectionHeader:
        """The first section's header, which has the numbers that are too large for the file's."""
        layout, size = _SECTION[self.bits], self.section_header_size
        return _section(next(self._table("section", layout, self.section_table, size, 1, 1)))

    def _table(
        self, what: str, layout: struct.Struct, start: int, size: int, count: int, most: int
    ) -> Iterator[tuple[int, ...]]:
        """The fields of each header of one table, of `count` headers of `size` bytes from the offset `start` on."""
        if count > most:
            raise ImageError(f"the ELF header says that there are {count} {what} headers: more than {most}")
        if count and size != layout.size:
            raise ImageError(f"ELF {what} headers of {size} bytes: they have {layout.size} on x86")
        data = self._read(start, count * size)
        if len(data) < count * size:
            raise ImageError(f"ELF {what} headers are outside the file: {count} at {start:#x}")
        return records(layout, data)

    def _read(self, offset: int, size: int) -> bytes:
        """`size` bytes; fewer where the file ends."""
        if offset + size > self.size:
            size = max(self.size - offset, 0)
        if not size:
            return b""
        self._stream.seek(offset)
        return self._stream.read(size)


def _section(fields: tuple[int, ...]) -> SectionHeader:
    name, type_, *rest, _ = fields
    return SectionHeader(name, _SECTION_TYPES.get(type_, type_), *rest)


def _segment_32(fields: tuple[int, ...]) -> ProgramHeader:
    type_, offset, virtual, physical, file_size, memory_size, flags, _ = fields
    return ProgramHeader(type_, flags, offset, virtual, physical, file_size, memory_size)


def _segment_64(fields: tuple[int, ...]) -> ProgramHeader:
    return ProgramHeader(*fields[:7])
