"""What a dump says of the kernel in it, to tell a user which one it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvspec.kernel.dump.memory import Memory
from pvspec.kernel.errors import ImageError
from pvspec.kernel.image.loader import BANNER

_PIECE = 1 << 20
_OVERLAP = 256  # bytes: more than the part of the banner that is looked for
MAX_BYTES = 256 << 20
"""Of a dump that are searched."""


def release_in(memories: Iterable[Memory]) -> tuple[str | None, bool]:
    """The release in the first banner found; and whether the search was complete, or ended at a bound."""
    room = MAX_BYTES
    for part in _parts(memories):
        if found := BANNER.search(part):
            return str(found[1], "ascii"), True
        room -= len(part)
        if room <= 0:
            return None, False
    return None, True


def _parts(memories: Iterable[Memory]) -> Iterator[bytes]:
    """The memory in pieces that overlap."""
    for memory in memories:
        for start, size in memory.regions():
            for address in range(start, start + size, _PIECE):
                try:
                    part = memory.up_to(address, min(_PIECE + _OVERLAP, start + size - address))
                except ImageError:  # a reader that misbehaves: the caller has another error to tell of
                    return
                yield part
