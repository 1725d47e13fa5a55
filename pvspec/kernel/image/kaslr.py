"""A kernel that KASLR has moved: the fields that hold addresses, and the image at its new address.

The build puts a table after the ELF file that a bzImage unpacks to: written by arch/x86/tools/relocs.c, read by
handle_relocations in arch/x86/boot/compressed/misc.c, backwards from its end. It consists of lists of 32-bit words; in
that order a zero ends each list, so it precedes the list in the file. A word is the address of a
field, on x86_64 sign-extended. The lists:

* fields of 32 bits that grow by the slide; on i386 it is the only list;
* up to Linux 6.14, fields of 32 bits that shrink by it: distances to per-CPU variables, which do not move;
* fields of 64 bits that grow by it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import ElfFile
from pvspec.kernel.files.layout import Layout
from pvspec.kernel.files.words import integers
from pvspec.kernel.work import Work

LEAST_ALIGNMENT = {"i386": 0x2000, "x86_64": 0x200000}
"""The least that CONFIG_PHYSICAL_ALIGN (arch/x86/Kconfig) can be, in bytes: a kernel moves by multiples of it."""
_LIMIT = {"i386": 0xFFFFF000, "x86_64": 0xFFFFFFFFC0000000}
"""Where a kernel must end: FIXADDR_TOP, and where modules begin (KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE)."""

_LISTS = {32: (1, 1), 64: (2, 3)}  # at least, and at most
_MAX_WORDS = 2_000_000
"""Words of the table of relocations after a kernel's ELF file; Debian's have up to 280,000. A longer one is refused."""
_WORD_WORK, FIELD_WORK = 2, 4
"""Units of work: to read a word of the table, and to move a field by it."""
_PLACE_WORK = 8  # a section, a segment or the header of one
_WORD, _LONG = 4, 8

_ADDRESS = {32: (struct.Struct("<I"), 8, 12), 64: (struct.Struct("<Q"), 16, 16)}
"""By width: the format of an address, and the offsets of p_vaddr and sh_addr in their headers."""


class Relocations(NamedTuple):
    """The fields of a kernel that hold addresses, by their offsets in its memory.

    Those of `added32` and `added64` grow by the slide, those of `subtracted32` shrink by it.
    """

    added32: Sequence[int]
    subtracted32: Sequence[int]
    added64: Sequence[int]

    def __repr__(self) -> str:
        counts = f"{len(self.added32)} and {len(self.added64)} fields grow, {len(self.subtracted32)} shrink"
        return f"<Relocations: {counts}>"

    @property
    def fields(self) -> int:
        """How many there are."""
        return sum(map(len, self))

    def within(self, start: int, end: int) -> Relocations:
        """The fields that are entirely in [start, end), by their offsets from `start`."""
        sizes = _WORD, _WORD, _LONG
        return Relocations(
            *([at - start for at in part if start <= at <= end - size] for part, size in zip(self, sizes, strict=True))
        )

    def move(self, memory: bytearray, slide: int) -> None:
        """Change memory to what it is `slide` bytes higher; takes 0.2 s for a kernel."""
        _add(memory, self.added32, slide, _WORD)
        _add(memory, self.subtracted32, -slide, _WORD)
        _add(memory, self.added64, slide, _LONG)


NO_RELOCATIONS = Relocations((), (), ())


def _add(memory: bytearray, offsets: Sequence[int], number: int, size: int) -> None:
    mask = (1 << 8 * size) - 1
    for at in offsets:
        field = int.from_bytes(memory[at : at + size], "little") + number & mask
        memory[at : at + size] = field.to_bytes(size, "little")


def read_relocations(elf: ElfFile, layout: Layout, work: Work) -> Relocations | None:
    """The table after the ELF file; None if nothing follows it, or the file is a module.

    Raises ImageError if what follows is not such a table, or if the table names a field outside the memory.
    """
    tail = len(elf.data) - elf.size
    if elf.relocatable or tail < _WORD:
        return None
    if tail > _MAX_WORDS * _WORD:
        raise ImageError(f"relocation table of {tail} bytes is larger than any kernel's")
    work.add(tail // _WORD * _WORD_WORK, f"a table of {tail // _WORD} relocations")
    words = array("I", elf.data[len(elf.data) - tail // _WORD * _WORD :])
    if sys.byteorder == "big":
        words.byteswap()
    words.reverse()
    lists = _lists(words, *_LISTS[elf.bits])
    if elf.bits == 32:
        return Relocations(_offsets(lists[0], layout, _WORD), (), ())
    subtracted = lists[1] if len(lists) == 3 else array("I")
    return Relocations(
        _offsets(lists[0], layout, _WORD), _offsets(subtracted, layout, _WORD), _offsets(lists[-1], layout, _LONG)
    )


def _lists(words: array[int], least: int, most: int) -> list[array[int]]:
    """The lists in a reversed table: a zero ends each."""
    ends = [-1]
    while len(ends) <= most and 0 in words[ends[-1] + 1 :]:
        ends.append(words.index(0, ends[-1] + 1))
    if len(ends) <= least:
        raise ImageError(
            f"relocation table of {len(words)} words lacks an end: it is truncated, or is not a relocation table"
        )
    return [words[before + 1 : end] for before, end in pairwise(ends)]


def _offsets(words: array[int], layout: Layout, size: int) -> list[int]:
    base = layout.base - layout.slide & 0xFFFFFFFF
    end = base + len(layout.memory) - size
    if words and not base <= min(words) <= max(words) <= end:
        wrong = next(word for word in words if not base <= word <= end)
        raise ImageError(f"relocation table names a field at {wrong:#x}, outside the image")
    return [word - base for word in words]


def can_be(slide: int, machine: str, alignment: int, end: int) -> bool:
    """Whether a kernel that was linked to end at the address `end` can be that many bytes higher."""
    return not slide or (slide > 0 and slide % alignment == 0 and end + slide <= _LIMIT[machine])


def slides(machine: str, alignment: int, end: int) -> range:
    """All slides that `can_be` allows."""
    return range(0, max(_LIMIT[machine] - end + 1, 0), alignment)


def move(
    elf: ElfFile, layout: Layout, table: Relocations | None, alignment: int, slide: int, work: Work
) -> tuple[ElfFile, Layout]:
    """A kernel moved `slide` bytes above where it was linked; ImageError if it cannot be there.

    The per-CPU template of x86_64, at address 0, does not move, nor do physical addresses in the headers.
    """
    if elf.relocatable:
        raise ImageError("is a module: KASLR moves the kernel that loads it; give that with --vmlinux")
    if layout.slide:
        raise ImageError("was already moved")
    if table is None:
        raise ImageError(
            "lacks a relocation table after its ELF file: use the kernel's bzImage (/boot/vmlinuz-…), or its package"
        )
    end = layout.base + len(layout.memory)
    if not can_be(slide, elf.machine, alignment, end):
        raise ImageError(
            f"cannot be moved by {slide:#x} bytes: that must be a multiple of {alignment:#x}, and its end, "
            f"{end:#x}, must not be above {_LIMIT[elf.machine]:#x}"
        )
    work.add(table.fields * FIELD_WORK + len(layout.sections) * _PLACE_WORK, f"moving {table.fields} fields")
    memory = bytearray(layout.memory)
    table.move(memory, slide)
    for start, size in _gaps(elf, layout.base):
        memory[start : start + size] = bytes(size)

    def place(address: int) -> int:
        return address + slide if layout.base <= address <= end else address

    sections = [section._replace(address=place(section.address)) for section in layout.sections]
    segments = [segment._replace(address=place(segment.address)) for segment in elf.segments]
    elf = replace(elf, sections=sections, segments=segments)
    return elf, replace(
        layout,
        base=layout.base + slide,
        memory=memory,
        sections=sections,
        executable=tuple((start + slide, stop + slide) for start, stop in layout.executable),
        file_ranges=[part._replace(address=part.address + slide) for part in layout.file_ranges],
        header_edits=dict(_header_edits(elf, layout.base, end, slide)),
        slide=slide,
    )


def _gaps(elf: ElfFile, base: int) -> Iterator[tuple[int, int]]:
    """Offset and size of the gaps between segments: the per-CPU template, whose fields move, is loaded into one."""
    loaded = sorted(segment for segment in elf.segments if segment.memory_size and segment.address >= base)
    for before, after in pairwise(loaded):
        yield before.end - base, after.address - before.end


def _header_edits(elf: ElfFile, base: int, end: int, slide: int) -> Iterator[tuple[int, bytes]]:
    """The virtual addresses of segments and sections, by their offsets in the file."""
    address, in_program, in_section = _ADDRESS[elf.bits]
    section_headers = (elf.section_table + section.number * elf.section_header_size for section in elf.sections)
    for place in (*(at + in_program for at in elf.program_headers), *(at + in_section for at in section_headers)):
        (old,) = integers(address, elf.data[place : place + address.size])
        if base <= old <= end:
            yield place, address.pack(old + slide)
