"""The wrapper of pyelftools, which knows the structures of ELF files, but lacks type annotations.

Headers are bounded here only as far as is needed to read them; the caller checks what they point to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast

from pvspec.kernel.errors import ImageError

MAGIC = b"\x7fELF"


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

    type: str | int
    flags: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int


class _Fields(Protocol):
    """A parsed structure: the field of an enumeration is a str, or an int if its value is unknown."""

    def __getitem__(self, name: str, /) -> str | int: ...


class _Structure(Protocol):
    def sizeof(self) -> int: ...


class _Structures(Protocol):
    Elf_Shdr: _Structure
    Elf_Phdr: _Structure


class _Elf(_Fields, Protocol):
    stream: BinaryIO
    stream_len: int
    elfclass: int
    little_endian: bool
    structs: _Structures

    def num_sections(self) -> int: ...

    def num_segments(self) -> int: ...


_Parse = Callable[[_Structure, BinaryIO, int], _Fields]


class ElfHeaders:
    """The headers of a file, read from a stream. `type` and `machine` are pyelftools' names, or numbers."""

    def __init__(self, stream: BinaryIO) -> None:
        """Raises ImageError if the file's own header cannot be read."""
        from elftools.elf.elffile import ELFFile

        try:
            self._elf = cast(_Elf, ELFFile(stream))
            self.type = self._elf["e_type"]
            self.machine = self._elf["e_machine"]
        except Exception as error:  # pyelftools passes on any exception of its parser
            raise damaged(error) from error
        self.bits = self._elf.elfclass
        self.little_endian = self._elf.little_endian
        self.size = self._elf.stream_len
        self.section_names = _number(self._elf, "e_shstrndx")
        self.section_table, self.section_header_size = self._number("e_shoff"), self._number("e_shentsize")
        self.program_table, self.program_header_size = self._number("e_phoff"), self._number("e_phentsize")

    def _number(self, name: str) -> int:
        return _number(self._elf, name)

    def sections(self, most: int) -> list[SectionHeader]:
        """The section headers; raises ImageError if there are more than `most`, or some are outside the file."""
        return [
            SectionHeader(
                _number(header, "sh_name"),
                header["sh_type"],
                _number(header, "sh_flags"),
                _number(header, "sh_addr"),
                _number(header, "sh_offset"),
                _number(header, "sh_size"),
                _number(header, "sh_link"),
                _number(header, "sh_info"),
                _number(header, "sh_addralign"),
            )
            for header in self._table("section", most)
        ]

    def segments(self, most: int) -> list[ProgramHeader]:
        """The program headers; raises ImageError if there are more than `most`, or some are outside the file."""
        return [
            ProgramHeader(
                header["p_type"],
                _number(header, "p_flags"),
                _number(header, "p_offset"),
                _number(header, "p_vaddr"),
                _number(header, "p_paddr"),
                _number(header, "p_filesz"),
                _number(header, "p_memsz"),
            )
            for header in self._table("program", most)
        ]

    def _table(self, what: str, most: int) -> Iterator[_Fields]:
        """The structures of one header table."""
        from elftools.common.utils import struct_parse

        parse = cast(_Parse, struct_parse)
        elf, structures = self._elf, self._elf.structs
        try:
            if what == "section":
                layout, count = structures.Elf_Shdr, elf.num_sections()
                start, size = self.section_table, self.section_header_size
            else:
                layout, count = structures.Elf_Phdr, elf.num_segments()
                start, size = self.program_table, self.program_header_size
            if count > most:
                raise ImageError(f"the ELF header says that there are {count} {what} headers: more than {most}")
            if count and size < layout.sizeof():
                raise ImageError(f"ELF {what} headers of {size} bytes are too short: {layout.sizeof()} are needed")
            if start + count * size > self.size:
                raise ImageError(f"ELF {what} headers are outside the file: {count} at {start:#x}")
            for index in range(count):
                yield parse(layout, elf.stream, start + index * size)
        except ImageError:
            raise
        except Exception as error:  # as above
            raise damaged(error) from error


def _number(fields: _Fields, name: str) -> int:
    value = fields[name]
    if isinstance(value, str):
        raise ImageError(f"damaged ELF file: {name} is {value}, not a number")
    return value


def damaged(error: Exception) -> ImageError:
    """The error for a file that a parser cannot read."""
    return ImageError(f"damaged ELF file: {type(error).__name__}: {error}")
