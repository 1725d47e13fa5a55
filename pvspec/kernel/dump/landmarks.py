"""What a kernel is known by in memory: read-only data, and the fields in them that say where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from pvspec.kernel.image.image import KernelImage
from pvspec.kernel.image.kaslr import NO_RELOCATIONS, Relocations, can_be

_WINDOW = 4096  # bytes
_MARGIN = 8  # of the longest field
_MARK = 64  # bytes

Reader = Callable[[int, int], bytes]


class Window(NamedTuple):
    """`size` bytes of read-only data at `address`; `before` them and behind are more, for fields across an end."""

    address: int
    size: int
    before: int
    around: bytes
    fields: Relocations

    def at(self, slide: int) -> bytes:
        """The data if the kernel lay that many bytes above where it does."""
        memory = bytearray(self.around)
        self.fields.move(memory, slide)
        return bytes(memory[self.before : self.before + self.size])


class Landmarks:
    """The windows of an `image`'s read-only data; none if it has no section `.rodata`.

    `mark` is the address and the bytes of a short piece of them that is the same wherever the kernel lies.
    """

    def __init__(self, image: KernelImage) -> None:
        """Raises ImageError if the image's table of relocations is damaged."""
        self.image = image
        self._table = image.relocations or NO_RELOCATIONS
        self.windows = [self._window(start, size) for start, size in _places(image)]
        self.mark = max(chain.from_iterable(map(_marks, self.windows)), key=_variety, default=None)

    def _window(self, start: int, size: int) -> Window:
        image = self.image
        first, last = max(start - _MARGIN, image.base), min(start + size + _MARGIN, image.end)
        fields = self._table.within(first - image.base, last - image.base)
        return Window(start, size, start - first, image.read(first, last - first), fields)

    def slide(self, read: Reader, known: int | None) -> int | None:
        """The slide of the kernel that `read` reads at this image's addresses; None if it is not this kernel.

        If it is not `known` one field tells it, and all others must agree; without fields it is the image's own.
        `read` returns fewer bytes where there are none.
        """
        image = self.image
        slide = self._told(read) if known is None else known
        if slide is None:
            slide = image.slide
        if not can_be(slide, image.machine, image.alignment, image.end - image.slide):
            return None
        same = all(read(at.address, at.size) == at.at(slide - image.slide) for at in self.windows)
        return slide if same else None

    def _told(self, read: Reader) -> int | None:
        """The slide by the first field that a window has."""
        size = self.image.bits // 8
        for window in self.windows:
            offsets = window.fields.added64 if size == 8 else window.fields.added32
            for at in offsets:
                if window.before <= at <= window.before + window.size - size:
                    old = int.from_bytes(window.around[at : at + size], "little")
                    new = int.from_bytes(read(window.address + at - window.before, size), "little")
                    return new - old + self.image.slide
        return None


def _places(image: KernelImage) -> list[tuple[int, int]]:
    """Addresses and sizes: the beginning of the read-only data, and the middle, which no kernel writes."""
    section = image.sections.get(".rodata")
    if section is None:
        return []
    size = min(section.size, _WINDOW)
    return [(start, size) for start in (section.address, section.address + (section.size - size) // 2 // 16 * 16)]


def _marks(window: Window) -> Iterator[tuple[int, bytes]]:
    """The addresses and bytes of the short pieces of a window in which nothing moves."""
    ends = (0, _MARGIN - 1)
    moving = {(at - window.before + end) // _MARK for part in window.fields for at in part for end in ends}
    data = window.at(0)
    for at in range(0, window.size, _MARK):
        if at // _MARK not in moving:
            yield window.address + at, data[at : at + _MARK]


def _variety(mark: tuple[int, bytes]) -> int:
    return len(set(mark[1]))
