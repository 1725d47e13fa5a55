"""The memory of a running kernel, as a hypervisor or crash tool saved it."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from pvspec.kernel.dump.core import read_core
from pvspec.kernel.dump.landmarks import Landmarks
from pvspec.kernel.dump.places import Piece, Place, of_core, of_raw
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import MAGIC
from pvspec.kernel.image.image import KernelImage


class Dump:
    """Memory at the addresses of a kernel's image.

    The file is an ELF core (QEMU's dump-guest-memory, /proc/kcore), or raw: the image's memory from its base on,
    or the image's loaded segments one behind the other.
    """

    def __init__(self, path: Path, pieces: Iterable[Piece], memory: mmap.mmap | _Unmapped, slide: int) -> None:
        """`slide` is by how many bytes its kernel lies above where that was linked."""
        self.path, self.slide = path, slide
        self._pieces = list(_disjoint(pieces))
        self._starts = [piece.start for piece in self._pieces]
        self._memory = memory

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a virtual address; ImageError if the dump does not have them all."""
        found = self.up_to(address, size)
        if len(found) < size:
            raise ImageError(f"{self.path}: has no {size} bytes at {address:#x}")
        return found

    def up_to(self, address: int, size: int) -> bytes:
        """As many bytes at a virtual address, up to `size`, as the dump has one behind the other."""
        found = b""
        while len(found) < size and (part := self._part(address + len(found), size - len(found))):
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


def _disjoint(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same memory with each address once, ascending: a core may have the same pages by several mappings."""
    end = 0
    for start, size, offset in sorted(pieces):
        skipped = max(end - start, 0)
        if skipped < size:
            yield Piece(start + skipped, size - skipped, offset + skipped)
            end = start + size


def open_dump(path: str | os.PathLike[str], image: KernelImage) -> Dump:
    """The dump of a machine that runs the kernel of `image` where that lies.

    Raises ImageError if it cannot be read, or is of another kernel, or of one that lies elsewhere.
    """
    dump = _open(Path(path), image)
    if dump.slide != image.slide:
        raise ImageError(
            f"{path}: its kernel lies {dump.slide:#x} bytes above where it was linked, not {image.slide:#x}; "
            f"--kaslr {dump.slide:#x} predicts it there"
        )
    return dump


def find_slide(path: str | os.PathLike[str], image: KernelImage) -> int:
    """By how many bytes KASLR moved the kernel of `image` in a dump; ImageError as `open_dump`."""
    return _open(Path(path), image).slide


def _open(path: Path, image: KernelImage) -> Dump:
    """The dump, its memory where the kernel has it."""
    landmarks = Landmarks(image)
    try:
        with path.open("rb") as file:
            is_elf = file.read(len(MAGIC)) == MAGIC
            size = os.fstat(file.fileno()).st_size
            views = of_core(read_core(file, path), landmarks) if is_elf else [of_raw(path, size, image)]
            memory = _mapped(file) or _Unmapped(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read as a memory dump: {reason}") from None
    for pieces, places in views:
        dump = Dump(path, pieces, memory, 0)
        for place in places:
            slide = _slide_at(dump, place, landmarks)
            if slide is not None:
                rise = slide - image.slide - place.above
                return Dump(path, (piece._replace(start=piece.start + rise) for piece in pieces), memory, slide)
    moved = "" if image.relocations else ", or one that KASLR moved: what that changes only its bzImage tells"
    raise ImageError(
        f"{path}: has not the read-only data of {image.path} ({image.release or 'no version'}): another kernel{moved}"
    )


def _slide_at(dump: Dump, place: Place, landmarks: Landmarks) -> int | None:
    """The slide of the kernel at a place; None if it does not lie there."""

    def read(address: int, size: int) -> bytes:
        return dump.up_to(address + place.above, size)

    if landmarks.mark and read(landmarks.mark[0], len(landmarks.mark[1])) != landmarks.mark[1]:
        return None
    return landmarks.slide(read, place.slide)


class _Unmapped:
    """The bytes of a file that cannot be mapped, as /proc/kcore cannot."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def __getitem__(self, part: slice) -> bytes:
        self._file.seek(part.start)
        return self._file.read(part.stop - part.start)


def _mapped(file: BinaryIO) -> mmap.mmap | None:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return None
