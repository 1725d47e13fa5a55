"""A kernel's text: where sites may lie, and the one way to write them."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any, TypeAlias

from pvspec.runtime.records import Lanes
from pvspec.runtime.rules import PatchError

Pack: TypeAlias = Callable[..., None]


class Packs(dict[int, Pack]):
    """For each number of bytes the function that writes so many: (buffer, offset, bytes) -> None.

    Struct.pack_into checks the bounds, takes any buffer and is the fastest single write there is: 50 ns, where
    an assignment to a slice of a bytearray takes 90 and one to a slice of a memoryview 110.
    """

    def __missing__(self, size: int) -> Pack:
        pack = self[size] = struct.Struct(f"{size}s").pack_into
        return pack


PACKS = Packs()


def text_poke(text: Any, offset: int, insnbuf: bytes | bytearray) -> None:
    """Write a whole site at once: `insnbuf` into `text` (any writable buffer), `offset` bytes from its start.

    PatchError: the site lies outside the buffer, which cannot be written or was left as it was.
    """
    try:
        if offset < 0:
            raise PatchError(f"offset {offset} lies before the text")
        PACKS[len(insnbuf)](text, offset, insnbuf)
    except (struct.error, TypeError, ValueError, BufferError) as error:
        raise PatchError(f"{len(insnbuf)} bytes at offset {offset} cannot be written: {error}") from None


class Text:
    """A kernel's text in a buffer which lies at address `base`; PatchError if it cannot be written.

    `executable`: the ranges of addresses [start, end) in which sites may lie; without it the whole buffer.
    """

    def __init__(
        self, buffer: Any, base: int, executable: Sequence[tuple[int, int]] = (), *, writable: bool = True
    ) -> None:
        self.buffer = buffer
        self.view = _bytes_of(buffer)
        if writable and self.view.readonly:
            raise PatchError(f"the text is a read-only {type(buffer).__name__}; a bytearray or mmap can be patched")
        self.base = base
        self.end = base + len(self.view)
        ranges = executable or [(base, self.end)]
        self.executable = [(max(low, base), min(high, self.end)) for low, high in ranges]

    def copy(self) -> Text:
        """The same text in a buffer of its own."""
        return Text(bytearray(self.view), self.base, self.executable)

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address; PatchError if they lie outside the buffer."""
        start = address - self.base
        if start < 0 or start + size > len(self.view):
            raise PatchError(f"{size} bytes at {address:#x} lie outside the image {self.base:#x}-{self.end:#x}")
        return bytes(self.view[start : start + size])

    def check(self, address: int, size: int, protected: Mapping[str, tuple[int, int]]) -> None:
        """PatchError if a site does not lie in executable text, or lies over the poke's own code."""
        end = address + size
        if not any(low <= address and end <= high for low, high in self.executable):
            raise PatchError(f"site {address:#x}: its {size} bytes lie outside the text")
        for name, (low, high) in protected.items():
            if address < high and low < end:
                raise PatchError(f"site {address:#x}: its {size} bytes lie over {name}, which the poke itself runs")

    def contains(self, start: int, end: int, protected: Iterable[tuple[int, int]]) -> bool:
        """Whether all addresses from start up to end may hold sites."""
        inside = any(low <= start and end <= high for low, high in self.executable)
        return inside and all(end <= low or high <= start for low, high in protected)

    def allowed(self, lanes: Lanes, protected: Iterable[tuple[int, int]]) -> int:
        """The guards of the sites that `check` lets pass."""
        good = 0
        for low, high in self.executable:
            good |= lanes.from_on(low) & lanes.up_to(high)
        for low, high in protected:
            good &= lanes.up_to(low) | lanes.from_on(high)
        return good


def _bytes_of(buffer: Any) -> memoryview:
    try:
        return memoryview(buffer).cast("B")
    except (TypeError, ValueError, BufferError) as error:
        raise PatchError(f"the text is no buffer of bytes: {error}") from None


class Extents:
    """Address ranges [start, end), many of them in little memory: 16 bytes each."""

    def __init__(self, sites: Iterable[tuple[int, int]] = ()) -> None:
        self.starts = array("Q")
        self.ends = array("Q")
        for start, size in sites:
            self.add(start, size)

    def add(self, start: int, size: int) -> None:
        """Add the site of `size` bytes at an address."""
        self.starts.append(start)
        self.ends.append(start + size)

    def extend(self, others: Extents) -> None:
        """Add all of the others."""
        self.starts.extend(others.starts)
        self.ends.extend(others.ends)

    def in_order(self, run: int = 1 << 16) -> Iterator[tuple[int, int]]:
        """All of them by address: sorted run by run, and the runs merged as they are read."""
        return merge(*(self._sorted(first, first + run) for first in range(0, len(self.starts), run)))

    def _sorted(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        order = Extents()
        for start, end in sorted(zip(self.starts[first:last], self.ends[first:last], strict=True)):
            order.add(start, end - start)
        return zip(order.starts, order.ends, strict=True)


def merged(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Address ranges [start, end), which come sorted; those that overlap made one, empty ones left out."""
    low = high = 0
    for start, end in ranges:
        if start >= high:
            if high > low:
                yield low, high
            low, high = start, end
        high = max(high, end)
    if high > low:
        yield low, high
