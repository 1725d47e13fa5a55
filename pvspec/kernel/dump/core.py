"""ELF cores: what memory they hold, and what they say of the kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pvspec.kernel.errors import ImageError

_OFFSET = re.compile(rb"^KERNELOFFSET=([0-9a-f]{1,16})$", re.M)
_MAX_NOTES = 16 << 20


class Load(NamedTuple):
    """`size` bytes of memory at `offset` of the file; `virtual` is 0 where a core has physical addresses only."""

    virtual: int
    physical: int
    size: int
    offset: int


class Core(NamedTuple):
    """What a core holds, and by how many bytes its VMCOREINFO says that KASLR moved the kernel: KERNELOFFSET."""

    loads: Sequence[Load]
    slide: int | None


def read_core(file: BinaryIO, path: Path) -> Core:
    """The headers of an ELF core; ImageError if the file is no core, is damaged or cut short."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(file)
        if elf["e_type"] != "ET_CORE":
            raise ImageError(f"{path}: an ELF file, but no core dump")
        headers = [segment.header for segment in elf.iter_segments()]
    except (ELFError, ValueError, KeyError) as error:
        raise ImageError(f"{path}: cannot be read as a core dump: {error}") from None
    loads = [_load(header) for header in headers if header.p_type == "PT_LOAD"]
    end = max((load.offset + load.size for load in loads), default=0)
    size = os.fstat(file.fileno()).st_size
    if end > size:
        raise ImageError(f"{path}: {size} bytes of a core dump of {end}: cut short")
    return Core(loads, _offset(file, [header for header in headers if header.p_type == "PT_NOTE"]))


def _load(header: Any) -> Load:
    return Load(header.p_vaddr, header.p_paddr, header.p_filesz, header.p_offset)


def _offset(file: BinaryIO, headers: Sequence[Any]) -> int | None:
    """What the lines of VMCOREINFO in the notes say (kernel/vmcore_info.c)."""
    for header in headers:
        file.seek(header.p_offset)
        found = _OFFSET.search(file.read(min(header.p_filesz, _MAX_NOTES)))
        if found:
            return int(found[1], 16)
    return None
