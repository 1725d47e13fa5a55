"""What a dump says of the kernel in it, to tell a user which one it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvspec.kernel.dump.memory import Memory
from pvspec.kernel.errors import ImageError
from pvspec.kernel.image.loader import BANNER

_PIECE = 1 << 20
_OVERLAP = 256  # bytes: more than the part of the banner that is looked for
_MAX_BYTES = 256 << 20


def what_banner_says(memories: Iterable[Memory], expected: str) -> str:
    """The release in the first banner found in so much memory as may be searched, as a clause of a message."""
    room = _MAX_BYTES
    for part in _parts(memories):
        if found := BANNER.search(part):
            release = str(found[1], "ascii")
            return f"its banner says {release}" + (", but of another build" if release == expected else "")
        room -= len(part)
        if room <= 0:
            return f"its first {_MAX_BYTES >> 20} MiB have no banner"
    return "it has no banner"


def _parts(memories: Iterable[Memory]) -> Iterator[bytes]:
    """The memory in pieces that overlap."""
    for memory in memories:
        for start, size in memory.regions():
            for address in range(start, start + size, _PIECE):
                try:
                    yield memory.up_to(address, min(_PIECE + _OVERLAP, start + size - address))
                except ImageError:  # a reader that misbehaves: the caller has another error to tell of
                    return
