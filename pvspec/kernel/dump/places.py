"""Where in a dump a kernel may lie: its memory by virtual or physical address, and the places to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import NamedTuple

from pvspec.kernel.dump.core import Core
from pvspec.kernel.dump.landmarks import Landmarks
from pvspec.kernel.errors import ImageError
from pvspec.kernel.image.image import KernelImage
from pvspec.kernel.image.kaslr import slides

_KERNEL_MAP = {"i386": 0xC0000000, "x86_64": 0xFFFFFFFF80000000}
"""Virtual minus physical address of a kernel image that was not moved: PAGE_OFFSET (VMSPLIT_3G), __START_KERNEL_map."""
_MAX_PLACES = 1 << 16  # 128 GiB of memory: in a file with holes, a fault for each place


class Piece(NamedTuple):
    """`size` bytes of memory from the address `start` on, which the file has at `offset`."""

    start: int
    size: int
    offset: int


class Place(NamedTuple):
    """Where a kernel may lie: `above` the addresses of its image, in bytes, and the slide if that follows."""

    above: int
    slide: int | None


View = tuple[Sequence[Piece], Iterable[Place]]
"""The memory in a dump by addresses of one kind, and the places to look at."""


def of_raw(path: Path, size: int, image: KernelImage) -> View:
    """A file of so many bytes: all of the image's memory, or its segments; else ImageError."""
    here = [Place(0, None)]
    segments = image.segments
    if size == len(image.memory):
        return [Piece(image.base, size, 0)], here
    if size == sum(length for _, length in segments):
        offsets = accumulate((length for _, length in segments), initial=0)
        return [Piece(*segment, offset) for segment, offset in zip(segments, offsets, strict=False)], here
    raise ImageError(
        f"{path}: {size} bytes are neither an ELF core nor the image's memory: {len(image.memory)} bytes from "
        f"{image.base:#x} on, or its {len(segments)} segments"
    )


def of_core(core: Core, landmarks: Landmarks) -> Iterator[View]:
    """By virtual addresses where the core has them, and by physical ones: pages may be mapped that are no kernel's."""
    image = landmarks.image
    if mapped := [Piece(load.virtual, load.size, load.offset) for load in core.loads if load.virtual]:
        yield mapped, _by_slide(core, image)
    # on i386 the slide is the same for both addresses
    rise = _KERNEL_MAP["i386"] if image.bits == 32 else 0
    pieces = [Piece(load.physical + rise, load.size, load.offset) for load in core.loads]
    yield pieces, _by_slide(core, image) if image.bits == 32 else _by_mark(pieces, landmarks)


def _by_slide(core: Core, image: KernelImage) -> Iterator[Place]:
    """Where KASLR may have put a kernel by virtual address, the likeliest first."""
    likely = [image.slide] if core.slide is None else [core.slide, image.slide]
    every = slides(image.machine, image.alignment, image.end - image.slide) if image.relocations else ()
    return (Place(slide - image.slide, slide) for slide in chain(likely, every))


def _by_mark(pieces: Iterable[Piece], landmarks: Landmarks) -> Iterator[Place]:
    """Where it may have put a kernel of x86_64 by physical address: any, if the mark can be there."""
    image = landmarks.image
    linked = image.base - image.slide - _KERNEL_MAP["x86_64"]
    yield Place(linked - image.base, None)
    if landmarks.mark is None:
        return
    before = landmarks.mark[0] - image.base
    firsts = ((max(start - before, 0), start + size - before) for start, size, _ in pieces)
    every = (range(first + (linked - first) % image.alignment, end, image.alignment) for first, end in firsts)
    for place in islice(chain.from_iterable(every), _MAX_PLACES):
        yield Place(place - image.base, None)
