"""How a kernel is recognised in memory: by its read-only data, whose fields also tell where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

from pvspec.kernel.files.layout import coalesce
from pvspec.kernel.image.image import KernelImage
from pvspec.kernel.image.kaslr import FIELD_WORK, NO_RELOCATIONS, Relocations, can_be
from pvspec.kernel.work import Work

_SAMPLE = 4096  # bytes
_MARGIN = 8  # of the longest field
_SIGNATURE = 64  # bytes
_MAX_FIELDS = 16
"""Fields by which a message says how far a dump is from the kernel; others are not asked."""
_BYTES_PER_UNIT = 2  # of a unit of work: bytes of samples that are compared one by one

Read = Callable[[int, int], bytes]
"""Reads memory at the addresses of the image; returns fewer bytes if some are missing."""


class Signature(NamedTuple):
    """A short piece of read-only data that is the same wherever the kernel is."""

    address: int
    data: bytes


class Difference(NamedTuple):
    """How much memory differs from the read-only data: `bytes` of `of` bytes, the first one, and how many are missing.

    Missing bytes count as different. `first` is an address in the running kernel, if it is this one.
    """

    bytes: int
    of: int
    first: int
    missing: int


@dataclass(frozen=True, repr=False)
class Sample:
    """`size` bytes of read-only data at `address`; `before` bytes and more around them, for fields across an end."""

    address: int
    size: int
    before: int
    around: bytes
    fields: Relocations

    def __repr__(self) -> str:
        return f"<Sample {self.address:#x}, {self.size} bytes>"

    def at(self, rise: int, work: Work) -> bytes:
        """The data as they would be if the kernel were that many bytes higher."""
        work.add(self.fields.fields * FIELD_WORK, "comparing a dump with the kernel")
        memory = bytearray(self.around)
        self.fields.move(memory, rise)
        return bytes(memory[self.before : self.before + self.size])


def sample(image: KernelImage, start: int, size: int, work: Work) -> Sample:
    """The image's memory at an address; raises ImageError if its table of relocations is damaged."""
    first, last = max(start - _MARGIN, image.base), min(start + size + _MARGIN, image.end)
    work.add((image.relocations or NO_RELOCATIONS).fields, "choosing what shows the kernel in a dump")
    fields = (image.relocations or NO_RELOCATIONS).within(first - image.base, last - image.base)
    return Sample(start, size, start - first, image.read(first, last - first), fields)


class Fingerprint:
    """Samples of an `image`'s read-only data; none if it has no section `.rodata`."""

    def __init__(self, image: KernelImage, work: Work) -> None:
        """Raises ImageError if the image's table of relocations is damaged. `work` is what all searches add to."""
        self.image, self.work = image, work
        self.samples = [sample(image, start, end - start, work) for start, end in _ranges(image)]
        pieces = chain.from_iterable(_unmoved(part, work) for part in self.samples)
        self.signature = max(pieces, key=lambda piece: len(set(piece.data)), default=None)

    def __repr__(self) -> str:
        return f"<Fingerprint of {self.image.name}: {len(self.samples)} samples>"

    def is_signed(self, read: Read) -> bool:
        """Whether the signature is there, or the image lacks one."""
        return self.signature is None or read(self.signature.address, len(self.signature.data)) == self.signature.data

    def is_there(self, read: Read) -> bool:
        """Whether there is any memory where the read-only data begin."""
        return any(read(part.address, 1) for part in self.samples)

    def slide(self, read: Read, known: int | None, assumed: int) -> int | None:
        """The slide of the kernel that `read` reads at this image's addresses; None if it is not this kernel.

        Unless it is `known`, one field tells it, and all others must agree; without fields it is `assumed`.
        """
        slide = next(self._slides(read), assumed) if known is None else known
        if not self._possible(slide):
            return None
        rise = slide - self.image.slide
        return (
            slide if all(read(part.address, part.size) == part.at(rise, self.work) for part in self.samples) else None
        )

    def difference(self, read: Read, known: int | None, assumed: int) -> Difference:
        """How much the memory that `read` reads differs from this kernel; if the slide is unknown, at the best one."""
        slides = set(filter(self._possible, islice(self._slides(read), _MAX_FIELDS))) if known is None else {known}
        return min((self._difference_at(read, slide) for slide in sorted(slides or {assumed})), key=lambda it: it.bytes)

    def _difference_at(self, read: Read, slide: int) -> Difference:
        rise = slide - self.image.slide
        differing: list[int] = []
        total = missing = 0
        for part in self.samples:
            found, expected = read(part.address, part.size), part.at(rise, self.work)
            self.work.add(part.size // _BYTES_PER_UNIT, "comparing a dump with the kernel")
            pairs = enumerate(zip(found, expected, strict=False))
            differing += [part.address + rise + at for at, (one, other) in pairs if one != other]
            differing += range(part.address + rise + len(found), part.address + rise + part.size)
            total, missing = total + part.size, missing + part.size - len(found)
        return Difference(len(differing), total, differing[0] if differing else 0, missing)

    def _possible(self, slide: int) -> bool:
        image = self.image
        return can_be(slide, image.machine, image.alignment, image.end - image.slide)

    def _slides(self, read: Read) -> Iterator[int]:
        """The slide by each field that is in a sample."""
        size = self.image.bits // 8
        for part in self.samples:
            self.work.add(part.fields.fields, "comparing a dump with the kernel")
            for at in part.fields.added64 if size == 8 else part.fields.added32:
                if part.before <= at <= part.before + part.size - size:
                    old = int.from_bytes(part.around[at : at + size], "little")
                    new = int.from_bytes(read(part.address + at - part.before, size), "little")
                    yield new - old + self.image.slide


def _ranges(image: KernelImage) -> Iterable[tuple[int, int]]:
    """[start, end): the beginning of the read-only data, and the middle, which no kernel writes."""
    section = image.sections.get(".rodata")
    if section is None or not section.allocated:
        return ()
    size = min(section.size, _SAMPLE)
    middle = section.address + (section.size - size) // 2 // 16 * 16
    return coalesce((start, start + size) for start in (section.address, middle))


def _unmoved(part: Sample, work: Work) -> Iterator[Signature]:
    """The short pieces of a sample that contain no addresses."""
    ends = (0, _MARGIN - 1)
    moving = {(at - part.before + end) // _SIGNATURE for fields in part.fields for at in fields for end in ends}
    data = part.at(0, work)
    for at in range(0, part.size, _SIGNATURE):
        if at // _SIGNATURE not in moving:
            yield Signature(part.address + at, data[at : at + _SIGNATURE])
