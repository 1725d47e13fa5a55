"""ELF files: the headers, checked, and the flat memory that a linked kernel is loaded to.

pyelftools knows the structures; what they say is checked here, because a kernel image may be hostile.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from elftools.common.utils import struct_parse
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Buffer, FileRange, Layout, Section, coalesce, zeros

MAGIC = b"\x7fELF"
_MACHINES = {("EM_386", 32): "i386", ("EM_X86_64", 64): "x86_64"}
_MAX_SECTIONS = 0xFF00  # SHN_LORESERVE: from here on section numbers mean something else
_MAX_SEGMENTS = 64  # a vmlinux has three to six
_MAX_NAME = 4096


class Segment(NamedTuple):
    """One PT_LOAD: `file_size` bytes at `offset` of the file go to `address`, zeros follow to `memory_size`."""

    address: int
    offset: int
    file_size: int
    memory_size: int
    executable: bool

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + self.memory_size


@dataclass(frozen=True)
class ElfFile:
    """The headers of an ELF file for x86, in the order of the file. All they point to lies in the file.

    `segments` are those that are loaded; `program_headers` are the offsets of all segments' headers.
    """

    data: Buffer
    bits: int
    machine: str
    relocatable: bool
    sections: Sequence[Section]
    segments: Sequence[Segment]
    program_headers: range
    section_table: int
    section_header_size: int

    def contents(self, section: Section) -> bytes:
        """The bytes of a section in the file; none for .bss and its like."""
        return self.data[section.offset : section.offset + section.size] if section.in_file else b""

    @property
    def size(self) -> int:
        """Bytes to the end of the last thing that the headers tell of: in a bzImage, more follows the ELF file."""
        tables = self.section_table + len(self.sections) * self.section_header_size
        sections = (section.offset + section.size for section in self.sections if section.in_file)
        segments = (segment.offset + segment.file_size for segment in self.segments)
        return max((tables, *sections, *segments))

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)


def parse_elf(data: Buffer) -> ElfFile:
    """Read and check the headers of an ELF file for i386 or x86_64; raises ImageError."""
    try:
        return _parse(data)
    except ImageError:
        raise
    except Exception as error:  # pyelftools raises whatever its parser trips over
        raise ImageError(f"damaged ELF file: {type(error).__name__}: {error}") from error


def _parse(data: Buffer) -> ElfFile:
    elf: Any = ELFFile(data if isinstance(data, mmap.mmap) else io.BytesIO(data))  # type: ignore[arg-type]
    machine = _MACHINES.get((elf["e_machine"], elf.elfclass))
    if machine is None or not elf.little_endian:
        raise ImageError(f"ELF file is for {elf['e_machine']} ({elf.elfclass} bit), not for i386 or x86_64")
    return ElfFile(
        data,
        elf.elfclass,
        machine,
        elf["e_type"] == "ET_REL",
        _sections(elf, data),
        _segments(elf, data),
        range(elf["e_phoff"], elf["e_phoff"] + elf.num_segments() * elf["e_phentsize"], elf["e_phentsize"] or 1),
        elf["e_shoff"],
        elf["e_shentsize"],
    )


def _headers(elf: Any, what: str, offset: int, count: int, size: int) -> Iterator[Any]:
    """The structures of one header table."""
    section = what == "section"
    layout = elf.structs.Elf_Shdr if section else elf.structs.Elf_Phdr
    if count > (_MAX_SECTIONS if section else _MAX_SEGMENTS):
        raise ImageError(f"ELF file says it has {count} {what} headers")
    if count and size < layout.sizeof():
        raise ImageError(f"ELF {what} headers of {size} bytes are too short")
    if offset + count * size > elf.stream_len:
        raise ImageError(f"ELF {what} headers lie outside the file: {count} at {offset:#x}")
    for index in range(count):
        yield struct_parse(layout, elf.stream, stream_pos=offset + index * size)


def _check_inside(data: Buffer, what: str, offset: int, size: int) -> None:
    if offset + size > len(data):
        raise ImageError(f"{what} ({size} bytes at {offset:#x}) lies outside the file of {len(data)} bytes")


def _sections(elf: Any, data: Buffer) -> Sequence[Section]:
    headers = list(_headers(elf, "section", elf["e_shoff"], elf.num_sections(), elf["e_shentsize"]))
    if not headers:
        return ()
    names = _string_table(data, headers, elf["e_shstrndx"])
    sections = tuple(_section(index, header, names) for index, header in enumerate(headers))
    for section in sections:
        if section.in_file:
            _check_inside(data, f"section {section.name or section.number}", section.offset, section.size)
    return sections


def _string_table(data: Buffer, headers: Sequence[Any], index: int) -> bytes:
    if index >= len(headers):
        raise ImageError(f"section name table is section {index}, and there are {len(headers)}")
    header = headers[index]
    _check_inside(data, "section name table", header["sh_offset"], header["sh_size"])
    return data[header["sh_offset"] : header["sh_offset"] + header["sh_size"]]


def string_at(table: bytes, offset: int) -> str:
    """The NUL-terminated string at `offset` of a string table; raises ImageError where there is none."""
    end = table.find(b"\0", offset, offset + _MAX_NAME)
    if end < 0:
        raise ImageError(f"no string at {offset:#x} of a string table of {len(table)} bytes")
    return table[offset:end].decode("utf-8", "backslashreplace")


def _section(index: int, header: Any, names: bytes) -> Section:
    flags = header["sh_flags"]
    return Section(
        string_at(names, header["sh_name"]),
        header["sh_addr"],
        header["sh_offset"],
        header["sh_size"],
        bool(flags & SH_FLAGS.SHF_EXECINSTR),
        bool(flags & SH_FLAGS.SHF_WRITE),
        bool(flags & SH_FLAGS.SHF_ALLOC),
        header["sh_type"],
        header["sh_link"],
        header["sh_info"],
        header["sh_addralign"],
        index,
    )


def _segments(elf: Any, data: Buffer) -> Sequence[Segment]:
    headers = _headers(elf, "program", elf["e_phoff"], elf.num_segments(), elf["e_phentsize"])
    segments = tuple(_segment(header) for header in headers if header["p_type"] == "PT_LOAD")
    for segment in segments:
        what = f"segment at {segment.address:#x}"
        _check_inside(data, what, segment.offset, segment.file_size)
        if segment.file_size > segment.memory_size:
            raise ImageError(f"{what} has more bytes in the file than in memory")
    return segments


def _segment(header: Any) -> Segment:
    return Segment(
        header["p_vaddr"],
        header["p_offset"],
        header["p_filesz"],
        header["p_memsz"],
        bool(header["p_flags"] & P_FLAGS.PF_X),
    )


def load_segments(elf: ElfFile) -> Layout:
    """The memory of a linked kernel: every PT_LOAD at its virtual address; raises ImageError.

    Left out is what is linked at address 0: the per-CPU template of x86_64 (arch/x86/kernel/vmlinux.lds.S up to
    Linux 6.14), whose addresses are offsets.
    """
    segments = sorted(segment for segment in elf.segments if segment.memory_size and segment.address)
    if not segments:
        raise ImageError("ELF file has no PT_LOAD segment: not a linked kernel")
    base, memory = _flat(segments)
    for segment in segments:
        start = segment.address - base
        memory[start : start + segment.file_size] = elf.data[segment.offset : segment.offset + segment.file_size]
    _check_sections(elf, segments)
    return Layout(
        base,
        memory,
        elf.sections,
        coalesce(_executable(elf)),
        [FileRange(segment.offset, segment.address, segment.file_size) for segment in segments],
    )


def _flat(segments: Sequence[Segment]) -> tuple[int, bytearray]:
    for before, after in pairwise(segments):
        if before.end > after.address:
            raise ImageError(f"segments at {before.address:#x} and {after.address:#x} overlap")
    base, span = segments[0].address, segments[-1].end - segments[0].address
    return base, zeros(span)


def _check_sections(elf: ElfFile, segments: Sequence[Segment]) -> None:
    for section in elf.sections:
        if section.allocated and section.address and section.size:
            _check_section(section, segments)


def _check_section(section: Section, segments: Sequence[Segment]) -> None:
    for segment in segments:
        if segment.address <= section.address and section.end <= segment.end:
            break
    else:
        raise ImageError(f"section {section.name} at {section.address:#x} lies outside all segments")
    if section.in_file and section.offset - segment.offset != section.address - segment.address:
        raise ImageError(f"section {section.name} and its segment disagree on where it lies in the file")


def _executable(elf: ElfFile) -> Iterator[tuple[int, int]]:
    places: Sequence[Section | Segment] = [section for section in elf.sections if section.allocated] or elf.segments
    for place in places:
        if place.executable and 0 < place.address < place.end:
            yield place.address, place.end
