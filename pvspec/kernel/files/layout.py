"""Where the bytes of an image are: in its ELF file, and in memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.file_bytes import FileBytes
from pvspec.kernel.work import Work

Buffer = bytes | mmap.mmap | FileBytes
"""The bytes of a file: at hand, in our own cache, or on disk."""

MAX_SPAN = 192 << 20
"""Bytes from the lowest to the highest address of an image. No kernel takes more, and one that would is refused."""
MAX_MODULE = 64 << 20
"""Bytes that the sections of a module take. One that would take more is refused."""
_BYTES_PER_UNIT = 20  # of work: the memory is searched for a banner, and there are copies of it


class Section(NamedTuple):
    """One section: what it is called, and where it is in memory and in the ELF file.

    `address` is a virtual address, `offset` and `size` are byte counts. A section that is not `allocated` is not in
    memory: its header says so, or its address is outside all loaded segments. `type` is sh_type: its name
    ("SHT_PROGBITS"), or its number if it is none of those that kernels have.
    """

    name: str
    address: int
    offset: int
    size: int
    executable: bool
    writable: bool
    allocated: bool
    type: str | int
    link: int
    info: int
    alignment: int
    number: int

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + self.size

    @property
    def in_file(self) -> bool:
        """Whether the file holds its contents; otherwise they are zeros, as in .bss."""
        return self.type not in ("SHT_NULL", "SHT_NOBITS")


class FileRange(NamedTuple):
    """`size` bytes at `offset` of the file, which are at `address` in memory."""

    offset: int
    address: int
    size: int


@dataclass(frozen=True, repr=False)
class Layout:
    """An image in memory: the bytes from `base` on, and which of them came from where in the ELF file.

    `header_edits` maps file offsets to what a written file has there instead. `slide` is how many bytes everything is
    above where it was linked.
    """

    base: int
    memory: bytearray
    sections: Sequence[Section]
    executable: tuple[tuple[int, int], ...]
    file_ranges: Sequence[FileRange]
    header_edits: dict[int, bytes] = field(default_factory=dict)
    slide: int = 0

    def __repr__(self) -> str:
        end = self.base + len(self.memory)
        return f"<Layout {self.base:#x} to {end:#x}, {len(self.sections)} sections, slide {self.slide:#x}>"


def zeros(span: int, most: int, work: Work) -> bytearray:
    """A flat memory of that many bytes; raises ImageError if that exceeds `most`."""
    if span > most:
        raise ImageError(f"image would take {span >> 20} MiB of memory, more than {most >> 20}")
    work.add(span // _BYTES_PER_UNIT, f"an image of {span} bytes")
    return bytearray(span)


def forget(data: Buffer) -> None:
    """Let go of the pages of a file that was copied: they would count as this process's memory beside the copy."""
    if isinstance(data, mmap.mmap) and hasattr(data, "madvise"):
        data.madvise(mmap.MADV_DONTNEED)


def coalesce(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same addresses in as few [start, end) ranges as possible, ascending."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple(merged)
