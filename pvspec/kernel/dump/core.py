"""ELF cores: the memory that they contain, and what they say about the kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf_headers import ElfHeaders, ProgramHeader

_OFFSET = re.compile(rb"^KERNELOFFSET=([0-9a-f]{1,16})$", re.M)
_MAX_NOTES = 16 << 20
_MAX_SEGMENTS = 1 << 20


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


def read_core(file: BinaryIO) -> Core:
    """The headers of an ELF core; raises ImageError if the file is not a core, is damaged or is truncated."""
    headers = ElfHeaders(file)
    if headers.type != "ET_CORE":
        raise ImageError("is an ELF file, but not a core dump")
    segments = headers.segments(_MAX_SEGMENTS)
    loads = [
        Load(segment.virtual, segment.physical, segment.file_size, segment.offset)
        for segment in segments
        if segment.type == "PT_LOAD"
    ]
    notes = [segment for segment in segments if segment.type == "PT_NOTE"]
    described = [segment for segment in segments if segment.type in ("PT_LOAD", "PT_NOTE")]
    end = max((segment.offset + segment.file_size for segment in described), default=0)
    if end > headers.size:
        raise ImageError(f"is truncated: its headers describe {end} bytes, but the file has {headers.size}")
    return Core(loads, _offset(file, notes))


def _offset(file: BinaryIO, notes: Sequence[ProgramHeader]) -> int | None:
    """The lines of VMCOREINFO in the notes, by key (kernel/vmcore_info.c)."""
    for note in notes:
        file.seek(note.offset)
        found = _OFFSET.search(file.read(min(note.file_size, _MAX_NOTES)))
        if found:
            return int(found[1], 16)
    return None
