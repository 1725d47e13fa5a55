"""ELF cores: the memory that they contain, and what they say about the kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf_headers import ET_CORE, PT_LOAD, PT_NOTE, ElfHeaders, ProgramHeader
from pvspec.kernel.work import Work

_OFFSET = re.compile(rb"\nKERNELOFFSET=([0-9a-f]{1,16})$", re.M)
_MAX_NOTES = 16 << 20
"""Bytes of all notes of a core in sum, in which the kernel's place is looked for; in later ones it is not."""
_MAX_SEGMENTS = 1 << 18
"""Segments of a core. One that says it has more is refused."""
_SEGMENT_WORK = 24  # units


class Load(NamedTuple):
    """`size` bytes of memory at `offset` of the file; `virtual` is 0 in a core that has physical addresses only."""

    virtual: int
    physical: int
    size: int
    offset: int


class Core(NamedTuple):
    """The contents of a core, and the slide that its VMCOREINFO gives: KERNELOFFSET, in bytes."""

    loads: Sequence[Load]
    slide: int | None


def read_core(file: BinaryIO, work: Work) -> Core:
    """The headers of an ELF core; raises ImageError if the file is not a core, is damaged or is truncated."""
    headers = ElfHeaders(file)
    if headers.type != ET_CORE:
        raise ImageError("is an ELF file, but not a core dump")
    loads: list[Load] = []
    notes: list[ProgramHeader] = []
    end = 0
    for segment in headers.segments(_MAX_SEGMENTS):
        work.add(_SEGMENT_WORK, "reading the headers of a core")
        if segment.type == PT_LOAD:
            loads.append(Load(segment.virtual, segment.physical, segment.file_size, segment.offset))
        elif segment.type == PT_NOTE:
            notes.append(segment)
        else:
            continue
        end = max(end, segment.offset + segment.file_size)
    if end > headers.size:
        raise ImageError(f"is truncated: its headers describe {end} bytes, but the file has {headers.size}")
    return Core(loads, _offset(file, notes))


def _offset(file: BinaryIO, notes: Sequence[ProgramHeader]) -> int | None:
    """The lines of VMCOREINFO in the notes, by key (kernel/vmcore_info.c); KERNELOFFSET is not the first."""
    room = _MAX_NOTES
    for note in notes:
        if room <= 0:
            break
        file.seek(note.offset)
        found = _OFFSET.search(file.read(min(note.file_size, room)))
        if found:
            return int(found[1], 16)
        room -= note.file_size
    return None
