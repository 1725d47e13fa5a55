"""ELF files: the headers, checked, and the flat memory that a linked kernel is loaded to.

The headers are checked here, because a kernel image may be hostile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf_headers import ET_REL, PT_LOAD, ElfHeaders, ProgramHeader, SectionHeader
from pvspec.kernel.files.layout import MAX_SPAN, Buffer, FileRange, Layout, Section, coalesce, forget, zeros
from pvspec.kernel.files.reader import as_stream
from pvspec.kernel.work import Work

_MACHINES = {(3, 32): "i386", (62, 64): "x86_64"}  # EM_386, EM_X86_64
_MAX_SECTIONS = 0xFF00
"""Sections of an ELF file: numbers from SHN_LORESERVE on have special meanings. A file that says it has more is
refused."""
_MAX_SEGMENTS = 64
"""Segments of a kernel, which has three to six. A file that says it has more is refused."""
_MAX_NAME = 4096
"""Bytes of the name of one section or symbol. A file with a longer one is refused."""
_MAX_STRINGS = 64 << 20
"""Bytes of one table of names in an ELF file. A file with a longer one is refused."""
MAX_NAMES = 32 << 20
"""Bytes that all names from one table have in sum, be it of an ELF file, kallsyms or exports. Names may overlap, so the
size of the table does not bound them. A kernel with more is refused; Debian's have 6 MiB."""

_SECTION_WORK, _PLACED_WORK = 24, 1  # units: a section, and one compared with a segment
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR, _PF_X = 1, 2, 4, 1


class Segment(NamedTuple):
    """One PT_LOAD: `file_size` bytes at `offset` of the file go to `address`, zeros follow to `memory_size`."""

    address: int
    offset: int
    file_size: int
    memory_size: int
    executable: bool

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + self.memory_size


@dataclass(frozen=True, repr=False)
class ElfFile:
    """The headers of an ELF file for x86, in the order of the file. Everything that they point to is in the file.

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

    def __repr__(self) -> str:
        return f"<ElfFile {self.machine}, {len(self.sections)} sections, {len(self.segments)} loaded segments>"

    def __getstate__(self) -> dict[str, object]:
        """Pickle and copy the bytes: a mapped file can be neither pickled nor copied."""
        return {**self.__dict__, "data": bytes(self.data)}

    def strings(self, section: Section) -> Strings:
        """The strings of a section; raises ImageError if it is too large."""
        return Strings(_strings(self.data, section.offset, section.size) if section.in_file else b"")

    def contents(self, section: Section) -> bytes:
        """The bytes of a section in the file; none for .bss and the like. ImageError if they are more than an image."""
        if section.in_file and section.size > MAX_SPAN:
            raise ImageError(f"section {section.name} has {section.size} bytes in the file: more than any kernel's")
        return self.data[section.offset : section.offset + section.size] if section.in_file else b""

    @property
    def size(self) -> int:
        """Bytes up to the end of the last thing that the headers describe: in a bzImage, more data follow."""
        tables = self.section_table + len(self.sections) * self.section_header_size
        sections = (section.offset + section.size for section in self.sections if section.in_file)
        segments = (segment.offset + segment.file_size for segment in self.segments)
        return max((tables, *sections, *segments))

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)


def parse_elf(data: Buffer, work: Work) -> ElfFile:
    """Read and check the headers of an ELF file for i386 or x86_64; raises ImageError."""
    headers = ElfHeaders(as_stream(data))
    machine = _MACHINES.get((headers.machine, headers.bits))
    if machine is None:
        raise ImageError(f"ELF file is for machine {headers.machine} ({headers.bits} bit), not for i386 or x86_64")
    programs = list(headers.segments(_MAX_SEGMENTS))
    step = headers.program_header_size or 1
    return ElfFile(
        data,
        headers.bits,
        machine,
        headers.type == ET_REL,
        _sections(headers, data, work),
        _segments(programs, data),
        range(headers.program_table, headers.program_table + len(programs) * step, step),
        headers.section_table,
        headers.section_header_size,
    )


def _check_inside(data: Buffer, what: str, offset: int, size: int) -> None:
    if offset + size > len(data):
        raise ImageError(f"{what} ({size} bytes at {offset:#x}) is outside the file of {len(data)} bytes")


def _sections(elf: ElfHeaders, data: Buffer, work: Work) -> Sequence[Section]:
    headers = elf.sections(_MAX_SECTIONS)
    if not headers:
        return ()
    work.add(len(headers) * _SECTION_WORK, f"reading {len(headers)} sections")
    names = Strings(_string_table(data, headers, elf.section_names))
    sections = tuple(_section(index, header, names) for index, header in enumerate(headers))
    for section in sections:
        if section.in_file:
            _check_inside(data, f"section {section.name or section.number}", section.offset, section.size)
    return sections


def _string_table(data: Buffer, headers: Sequence[SectionHeader], index: int) -> bytes:
    if index >= len(headers):
        raise ImageError(f"the section name table is section {index}, but there are only {len(headers)} sections")
    header = headers[index]
    _check_inside(data, "section name table", header.offset, header.size)
    return _strings(data, header.offset, header.size)


def _strings(data: Buffer, offset: int, size: int) -> bytes:
    if size > _MAX_STRINGS:
        raise ImageError(f"a table of names of {size} bytes is larger than any kernel's")
    return data[offset : offset + size]


class Strings:
    """A table of NUL-terminated strings, of which `MAX_NAMES` bytes are handed out."""

    def __init__(self, table: bytes) -> None:
        self._table = table
        self._left = MAX_NAMES

    def __repr__(self) -> str:
        return f"<Strings: {len(self._table)} bytes>"

    def at(self, offset: int) -> str:
        """The string at an offset; raises ImageError if there is no such string, or all so far are too long in sum."""
        table = self._table
        end = table.find(b"\0", offset, offset + _MAX_NAME)
        if end < 0:
            raise ImageError(f"there is no string at {offset:#x} of a string table of {len(table)} bytes")
        self._left -= end - offset
        if self._left < 0:
            raise ImageError(
                f"the names in a string table have more than {MAX_NAMES >> 20} MiB, more than any kernel's"
            )
        return table[offset:end].decode("utf-8", "backslashreplace")


def _section(index: int, header: SectionHeader, names: Strings) -> Section:
    return Section(
        names.at(header.name),
        header.address,
        header.offset,
        header.size,
        bool(header.flags & _SHF_EXECINSTR),
        bool(header.flags & _SHF_WRITE),
        bool(header.flags & _SHF_ALLOC),
        header.type,
        header.link,
        header.info,
        header.alignment,
        index,
    )


def _segments(headers: Sequence[ProgramHeader], data: Buffer) -> Sequence[Segment]:
    segments = tuple(_segment(header) for header in headers if header.type == PT_LOAD)
    for segment in segments:
        what = f"segment at {segment.address:#x}"
        _check_inside(data, what, segment.offset, segment.file_size)
        if segment.file_size > segment.memory_size:
            raise ImageError(f"{what} has more bytes in the file than in memory")
    return segments


def _segment(header: ProgramHeader) -> Segment:
    return Segment(header.virtual, header.offset, header.file_size, header.memory_size, bool(header.flags & _PF_X))


def load_segments(elf: ElfFile, work: Work) -> Layout:
    """The memory of a linked kernel: every PT_LOAD at its virtual address; raises ImageError.

    Segments linked at address 0 are left out: the per-CPU template of x86_64 (arch/x86/kernel/vmlinux.lds.S up to
    Linux 6.14), whose addresses are offsets.
    """
    segments = sorted(segment for segment in elf.segments if segment.memory_size and segment.address)
    if not segments:
        raise ImageError("ELF file without a PT_LOAD segment: not a linked kernel")
    comparisons = len(elf.sections) * len(segments)
    work.add(comparisons * _PLACED_WORK, f"placing {len(elf.sections)} sections in {len(segments)} segments")
    base, memory = _flat(segments, work)
    for segment in segments:
        start = segment.address - base
        memory[start : start + segment.file_size] = elf.data[segment.offset : segment.offset + segment.file_size]
    forget(elf.data)
    sections = [_loaded(section, segments) for section in elf.sections]
    return Layout(
        base,
        memory,
        sections,
        coalesce(_executable(sections, elf.segments)),
        [FileRange(segment.offset, segment.address, segment.file_size) for segment in segments],
    )


def _flat(segments: Sequence[Segment], work: Work) -> tuple[int, bytearray]:
    for before, after in pairwise(segments):
        if before.end > after.address:
            raise ImageError(f"segments at {before.address:#x} and {after.address:#x} overlap")
    base, span = segments[0].address, segments[-1].end - segments[0].address
    return base, zeros(span, MAX_SPAN, work)


def _loaded(section: Section, segments: Sequence[Segment]) -> Section:
    """The section, checked against the segments; not allocated if it is outside all of them.

    vmlinux-to-elf writes such files, with .notes outside all PT_LOAD. That section cannot be read, but others can.
    """
    if not (section.allocated and section.address and section.size):
        return section
    segment = next((part for part in segments if part.address < section.end and section.address < part.end), None)
    if segment is None:
        return section._replace(allocated=False)
    if not (segment.address <= section.address and section.end <= segment.end):
        raise ImageError(
            f"section {section.name} ({section.address:#x} to {section.end:#x}) is only partly in the segment at "
            f"{segment.address:#x}"
        )
    if section.in_file and section.offset - segment.offset != section.address - segment.address:
        raise ImageError(
            f"section {section.name} is at {section.offset:#x} of the file, but its segment puts it at "
            f"{section.address - segment.address + segment.offset:#x}"
        )
    return section


def _executable(sections: Sequence[Section], segments: Sequence[Segment]) -> Iterator[tuple[int, int]]:
    places: Sequence[Section | Segment] = [section for section in sections if section.allocated] or segments
    for place in places:
        if place.executable and 0 < place.address < place.end:
            yield place.address, place.end
