"""Finding a kernel in a dump, and explaining what is there instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pvspec.kernel.dump.banner import everywhere, what_banner_says
from pvspec.kernel.dump.candidates import AddressSpace, Candidate
from pvspec.kernel.dump.fingerprint import Difference, Fingerprint, Read
from pvspec.kernel.dump.memory import Memory, ReaderMemory, Region
from pvspec.kernel.dump.text_match import TextMatch
from pvspec.kernel.errors import ImageError

_LIKELY = 3  # candidates that are compared byte by byte even without the signature
_MAX_COMPARED = 16
"""Places in a dump that are compared with the kernel byte by byte, for a message; others are not."""
_MAX_TEXTS = 4
"""Places in a dump that may hold the kernel's text and are compared with it; others are not."""
_CANDIDATE_WORK, _SIGNED_WORK = 40, 500  # units: a place that is looked at, and one that has the signature


class Found(NamedTuple):
    """Where the kernel is: in which memory, how far above the image's addresses, and its slide."""

    memory: Memory
    above: int
    slide: int


class Search:
    """A search for the kernel of a fingerprint. `assumed` is its slide if nothing in the dump shows it."""

    def __init__(self, fingerprint: Fingerprint, assumed: int) -> None:
        self._fingerprint, self._assumed = fingerprint, assumed
        self._text = TextMatch(fingerprint.image, fingerprint.work)
        self._texts: list[tuple[Memory, Candidate]] = []
        self._compared = 0
        self._nearest: Difference | None = None
        self._at_nearest: list[tuple[Memory, Region]] = []

    def find(self, spaces: Sequence[AddressSpace]) -> Found:
        """The first candidate that is the kernel; raises ImageError if none is."""
        work = self._fingerprint.work
        for space in spaces:
            for number, candidate in enumerate(space.candidates):
                read = _probing(space.memory, candidate)
                work.add(_CANDIDATE_WORK, "the search for the kernel")
                signed = self._fingerprint.is_signed(read)
                work.add(_SIGNED_WORK if signed else 0, "the search for the kernel")
                slide = self._fingerprint.slide(read, candidate.slide, self._assumed) if signed else None
                if slide is not None:
                    return Found(space.memory, candidate.above, slide)
                if candidate.slide is not None and self._text.present(read) and not self._fingerprint.is_there(read):
                    self._texts = [*self._texts, (space.memory, candidate)][:_MAX_TEXTS]
                elif signed or number < _LIKELY:
                    self._compare(space.memory, candidate)
        for memory, candidate in self._texts:
            if candidate.slide is not None and self._text.matches(_reading(memory, candidate), candidate.slide):
                return Found(memory, candidate.above, candidate.slide)
        raise self._failure([space.memory for space in spaces])

    def _compare(self, memory: Memory, candidate: Candidate) -> None:
        """For a message: how much a candidate differs, if it is the first one or is mostly the same."""
        if self._compared < _MAX_COMPARED:
            self._compared += 1
            found = self._fingerprint.difference(_reading(memory, candidate), candidate.slide, self._assumed)
            if self._nearest is None or found.bytes < min(self._nearest.bytes, found.of // 2):
                self._nearest = found
                image = self._fingerprint.image
                self._at_nearest = [(memory, (image.base + candidate.above, len(image.memory)))]

    def _failure(self, memories: Sequence[Memory]) -> ImageError:
        image = self._fingerprint.image
        release = image.release or "of unknown release"
        banner = what_banner_says([*self._at_nearest, *everywhere(memories)], image.release, self._fingerprint.work)
        parts = [self._compared_with(), banner, *_raised(memories)]
        if not image.relocations:
            parts.append(
                "if KASLR moved it, use the kernel's bzImage or package: only those contain the table of relocations"
            )
        return ImageError(f"not a dump of {image.name} ({release}): {'; '.join(parts)}")

    def _compared_with(self) -> str:
        """How much the most likely candidate differs from the kernel, or one that is mostly the same."""
        nearest = self._nearest
        if self._texts and (nearest is None or nearest.missing == nearest.of):
            return "it lacks the read-only data, and less than half of its text is the same"
        if nearest is None:
            return "it lacks memory where a kernel can be"
        if nearest.missing == nearest.of:
            return f"it lacks memory at {nearest.first:#x}, where the read-only data would begin"
        return f"{nearest.bytes} of {nearest.of} bytes of read-only data differ (first at {nearest.first:#x})"


def _raised(memories: Sequence[Memory]) -> Iterator[str]:
    """The exception of a reader, which may be why nothing was found."""
    for memory in memories:
        if isinstance(memory, ReaderMemory) and memory.failure is not None:
            yield f"its reader raised {type(memory.failure).__name__}: {memory.failure}"


def _probing(memory: Memory, candidate: Candidate) -> Read:
    return lambda address, size: memory.probe(address + candidate.above, size)


def _reading(memory: Memory, candidate: Candidate) -> Read:
    return lambda address, size: memory.up_to(address + candidate.above, size)
