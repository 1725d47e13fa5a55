"""The banner in a dump, to tell a user which kernel it contains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvspec.kernel.dump.memory import Memory, Region
from pvspec.kernel.errors import ImageError
from pvspec.kernel.image.loader import BANNER
from pvspec.kernel.work import MAX_WORK, Work

_PIECE = 1 << 20
_OVERLAP = 256  # bytes: more than the part of the banner that is searched for
_MAX_BYTES = 256 << 20
"""Bytes of a dump in which a message looks for the banner of another kernel; what comes after them is not searched."""
_LEAST_BYTES = 4096  # as which a smaller piece counts
_BYTES_PER_UNIT = 16  # of a unit of work


def what_banner_says(places: Iterable[tuple[Memory, Region]], expected: str, work: Work) -> str:
    """The release in the first banner in the memory that is searched, as a clause of a message."""
    room = min(_MAX_BYTES, (MAX_WORK - work.units) * _BYTES_PER_UNIT)
    most = max(room, 0) >> 20
    for part in _parts(places):
        if found := BANNER.search(part):
            release = str(found[1], "ascii")
            return f"its banner says {release}" + (", but of another build" if release == expected else "")
        room -= max(len(part), _LEAST_BYTES)
        if room <= 0:
            return f"no banner was found in its first {most} MiB"
    return "no banner was found in it"


def everywhere(memories: Iterable[Memory]) -> Iterator[tuple[Memory, Region]]:
    """All ranges where there may be memory."""
    return ((memory, region) for memory in memories for region in memory.regions())


def _parts(places: Iterable[tuple[Memory, Region]]) -> Iterator[bytes]:
    """The memory in pieces that overlap."""
    for memory, (start, size) in places:
        for address in range(start, start + size, _PIECE):
            try:
                yield memory.up_to(address, min(_PIECE + _OVERLAP, start + size - address))
            except ImageError:  # the reader misbehaves, but the caller reports another error
                return
