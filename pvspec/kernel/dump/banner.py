"""The banner in a dump, to tell a user which kernel it contains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvspec.kernel.dump.memory import Memory, Region
from pvspec.kernel.errors import ImageError
from pvspec.kernel.image.loader import BANNER

_PIECE = 1 << 20
_OVERLAP = 256  # bytes: more than the part of the banner that is searched for
_MAX_BYTES = 256 << 20


def what_banner_says(places: Iterable[tuple[Memory, Region]], expected: str) -> str:
    """The release in the first banner in the memory that is searched, as a clause of a message."""
    room = _MAX_BYTES
    for part in _parts(places):
        if found := BANNER.search(part):
            release = str(found[1], "ascii")
            return f"its banner says {release}" + (", but of another build" if release == expected else "")
        room -= len(part)
        if room <= 0:
            return f"no banner was found in its first {_MAX_BYTES >> 20} MiB"
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
