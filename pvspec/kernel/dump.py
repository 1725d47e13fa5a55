"""The memory of a running kernel, as a hypervisor or crash tool saved it."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.image import KernelImage

_KERNEL_MAP = {"i386": 0xC0000000, "x86_64": 0xFFFFFFFF80000000}
"""Virtual minus physical address of a kernel image: PAGE_OFFSET (VMSPLIT_3G), __START_KERNEL_map."""


class _Piece(NamedTuple):
    """`size` bytes of memory from the virtual address `start` on, which the file has at `offset`."""

    start: int
    size: int
    offset: int


class Dump:
    """Memory at the addresses of a kernel's image.

    The file is an ELF core (QEMU's dump-guest-memory, /proc/kcore), or raw: the image's memory from its base on,
    or the image's loaded segments one behind the other.
    """

    def __init__(self, path: Path, pieces: Sequence[_Piece], memory: mmap.mmap | bytes) -> None:
        self.path = path
        self._pieces = sorted(pieces)
        self._starts = [piece.start for piece in self._pieces]
        self._memory = memory

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a virtual address; ImageError if the dump does not have them all."""
        found = b""
        while len(found) < size:
            part = self._part(address + len(found), size - len(found))
            if not part:
                raise ImageError(f"{self.path}: has no {size} bytes at {address:#x}")
            found += part
        return found

    def _part(self, address: int, size: int) -> bytes:
        """As many of these bytes as one piece has."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return b""
        start, length, offset = self._pieces[index]
        end = min(address + size, start + length)
        return bytes(self._memory[offset + address - start : offset + max(end, address) - start])


def open_dump(path: str | os.PathLike[str], image: KernelImage) -> Dump:
    """The dump of a machine that runs the kernel of `image`; ImageError if it cannot be read, or is of another one."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            pieces = list(_pieces(file, path, image))
            dump = Dump(path, pieces, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read as a memory dump: {error}") from None
    _check_same(dump, image)
    return dump


def _pieces(file: BinaryIO, path: Path, image: KernelImage) -> Iterator[_Piece]:
    size = os.fstat(file.fileno()).st_size
    if file.read(4) == b"\x7fELF":
        yield from _of_core(file, path, image)
        return
    segments = image.segments
    if size == len(image.memory):
        yield _Piece(image.base, size, 0)
    elif size == sum(length for _, length in segments):
        offset = 0
        for start, length in segments:
            yield _Piece(start, length, offset)
            offset += length
    else:
        raise ImageError(
            f"{path}: {size} bytes are neither an ELF core nor the image's memory: {len(image.memory)} bytes from "
            f"{image.base:#x} on, or its {len(segments)} segments"
        )


def _of_core(file: BinaryIO, path: Path, image: KernelImage) -> Iterator[_Piece]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        core = ELFFile(file)
        if core["e_type"] != "ET_CORE":
            raise ImageError(f"{path}: an ELF file, but no core dump")
        loads = [segment.header for segment in core.iter_segments() if segment["p_type"] == "PT_LOAD"]
    except (ELFError, ValueError, KeyError) as error:
        raise ImageError(f"{path}: cannot be read as a core dump: {error}") from None
    size = os.fstat(file.fileno()).st_size
    for header in loads:
        if header.p_offset + header.p_filesz > size:
            raise ImageError(f"{path}: {size} bytes of a core dump of {header.p_offset + header.p_filesz}: cut short")
        # a dump without paging has physical addresses only
        start = header.p_vaddr or header.p_paddr + _KERNEL_MAP[image.machine]
        yield _Piece(start, header.p_filesz, header.p_offset)


def _check_same(dump: Dump, image: KernelImage) -> None:
    """What no kernel writes must be as the image has it."""
    section = image.sections.get(".rodata")
    if section is None:
        return
    size = min(section.size, 4096)
    for start in (section.address, section.address + (section.size - size) // 2 // 16 * 16):
        if dump.read(start, size) != image.read(start, size):
            raise ImageError(
                f"{dump.path}: its memory at {start:#x} is not the read-only data of {image.path} "
                f"({image.release or 'no version'}): another kernel, or one that was moved (boot with nokaslr)"
            )
