"""Where a kernel may be in a dump: its memory by virtual or physical address, and the candidates to examine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import NamedTuple

from pvspec.kernel.dump.banner import everywhere, what_banner_says
from pvspec.kernel.dump.core import Core
from pvspec.kernel.dump.fingerprint import Fingerprint
from pvspec.kernel.dump.memory import File, FileMemory, Memory, Piece, ReaderMemory
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.reader import Reader
from pvspec.kernel.image.image import KernelImage
from pvspec.kernel.image.kaslr import slides
from pvspec.kernel.work import Work

_KERNEL_MAP = {"i386": 0xC0000000, "x86_64": 0xFFFFFFFF80000000}
"""Virtual minus physical address of a kernel image that was not moved: PAGE_OFFSET (VMSPLIT_3G), __START_KERNEL_map."""
_MAX_CANDIDATES = 1 << 16
"""Physical addresses at which an x86_64 kernel is looked for: those of 128 GiB. One that is further up is not found."""


class Candidate(NamedTuple):
    """Where a kernel may be: `above` the image's addresses by so many bytes; and its slide, if that follows."""

    above: int
    slide: int | None


class AddressSpace(NamedTuple):
    """The memory in a dump by addresses of one kind, and the candidates in it, most likely first."""

    memory: Memory
    candidates: Iterable[Candidate]


def of_raw(file: File, image: KernelImage, work: Work) -> AddressSpace:
    """A file that contains the image's memory, or its segments one after the other; else ImageError."""
    here = [Candidate(0, None)]
    size, segments = file.size, image.segments
    if size == len(image.memory):
        return AddressSpace(FileMemory([Piece(image.base, size, 0)], file), here)
    if size == sum(length for _, length in segments):
        offsets = accumulate((length for _, length in segments), initial=0)
        pieces = [Piece(*segment, offset) for segment, offset in zip(segments, offsets, strict=False)]
        return AddressSpace(FileMemory(pieces, file), here)
    everything = FileMemory([Piece(0, size, 0)], file)
    raise ImageError(
        f"is neither an ELF core nor a flat dump: it is {size} bytes long, but the memory of {image.name} has "
        f"{len(image.memory)} from {image.base:#x} on, and its {len(segments)} segments have "
        f"{sum(length for _, length in segments)}; {what_banner_says(everywhere([everything]), image.release, work)}"
    )


def of_core(core: Core, file: File, fingerprint: Fingerprint) -> Iterator[AddressSpace]:
    """By virtual addresses, if the core has them, then by physical ones, because the kernel's pages may be unmapped."""
    image = fingerprint.image
    if mapped := [Piece(load.virtual, load.size, load.offset) for load in core.loads if load.virtual]:
        yield AddressSpace(FileMemory(mapped, file), _by_slide(core.slide, image))
    # on i386 the slide is the same for both addresses
    rise = _KERNEL_MAP["i386"] if image.bits == 32 else 0
    pieces = [Piece(load.physical + rise, load.size, load.offset) for load in core.loads]
    candidates = _by_slide(core.slide, image) if image.bits == 32 else _by_signature(pieces, fingerprint)
    yield AddressSpace(FileMemory(pieces, file), candidates)


def of_reader(reader: Reader, slide: int | None, image: KernelImage) -> AddressSpace:
    """Virtual memory of a running kernel; `slide` is tried first."""
    linked = image.base - image.slide
    return AddressSpace(ReaderMemory(reader, (linked, len(image.memory))), _by_slide(slide, image))


def _by_slide(likely: int | None, image: KernelImage) -> Iterator[Candidate]:
    """The virtual addresses at which KASLR may have put a kernel, most likely first."""
    first = [image.slide] if likely is None else [likely, image.slide]
    every = slides(image.machine, image.alignment, image.end - image.slide) if image.relocations else ()
    return (Candidate(slide - image.slide, slide) for slide in chain(first, every))


def _by_signature(pieces: Sequence[Piece], fingerprint: Fingerprint) -> Iterator[Candidate]:
    """The physical addresses at which it may have put an x86_64 kernel: any at which the signature can be."""
    image = fingerprint.image
    linked = image.base - image.slide - _KERNEL_MAP["x86_64"]
    yield Candidate(linked - image.base, None)
    if fingerprint.signature is None:
        return
    before = fingerprint.signature.address - image.base
    firsts = ((max(start - before, 0), start + size - before) for start, size, _ in pieces)
    every = (range(first + (linked - first) % image.alignment, end, image.alignment) for first, end in firsts)
    for base in islice(chain.from_iterable(every), _MAX_CANDIDATES):
        yield Candidate(base - image.base, None)
