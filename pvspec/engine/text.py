"""A kernel's text: where sites may lie, and the one way to write them."""

from __future__ import annotations

import operator
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from mmap import mmap
from typing import TypeAlias

from pvspec.engine.errors import PatchError
from pvspec.engine.records import Lanes

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap | array[int]"
"""What can be patched: any buffer of bytes that can be written; one that cannot is a PatchError."""

Pack: TypeAlias = Callable[..., None]
"""Writes bytes, and a rel32 among them, into a buffer at an offset: see `Packs`."""


class Packs(dict[int, Pack]):
    """For each number of bytes the function that writes so many: (buffer, offset, bytes) -> None.

    Struct.pack_into checks the bounds, takes any buffer and is the fastest single write there is: 50 ns, where
    an assignment to a slice of a bytearray takes 90 and one to a slice of a memoryview 110.
    """

    def __missing__(self, size: int) -> Pack:
        pack = self[size] = struct.Struct(f"{size}s").pack_into
        return pack


PACKS = Packs()


def text_poke(text: Buffer, offset: int, insnbuf: bytes | bytearray | memoryview) -> None:
    """Write a whole site at once: `insnbuf` into `text` (any writable buffer), `offset` bytes from its start.

    One copy, as the kernel's memcpy: whoever runs the text meanwhile sees old bytes or new ones, never others (a
    pack of struct would zero the site first). PatchError: it lies outside the buffer, which is as it was.
    """
    _write(_bytes_of(text), offset, insnbuf)


def _write(view: memoryview, offset: int, insnbuf: bytes | bytearray | memoryview) -> None:
    if not 0 <= offset <= len(view) - len(insnbuf):
        raise PatchError(f"{len(insnbuf)} bytes at offset {offset} are outside a text of {len(view)} bytes")
    try:
        view[offset : offset + len(insnbuf)] = insnbuf
    except (TypeError, ValueError, BufferError) as error:
        raise PatchError(f"the code at offset {offset} cannot be written: {error}") from None


class Text:
    """A kernel's text in a buffer which lies at address `base`; PatchError if it cannot be written.

    `executable`: the ranges of addresses [start, end) in which sites may lie; without it the whole buffer.
    """

    def __init__(
        self, buffer: Buffer, base: int, executable: Sequence[tuple[int, int]] = (), *, writable: bool = True
    ) -> None:
        self.buffer = buffer
        self.view = _bytes_of(buffer)
        if writable and self.view.readonly:
            raise PatchError(f"the text is a read-only {type(buffer).__name__}; a bytearray or mmap can be patched")
        self.base = base
        self.end = base + len(self.view)
        ranges = executable or [(base, self.end)]
        self.executable = [(max(low, base), min(high, self.end)) for low, high in ranges]
        self._last = (0, -1)

    def copy(self) -> Text:
        """The same text in a buffer of its own."""
        return Text(bytearray(self.view), self.base, self.executable)

    def poke(self, address: int, insnbuf: bytes) -> None:
        """Write a whole site at once, as `text_poke`."""
        _write(self.view, address - self.base, insnbuf)

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address; PatchError if they lie outside the buffer."""
        start = address - self.base
        if start < 0 or start + size > len(self.view):
            raise PatchError(f"{size} bytes at {address:#x} are outside the image {self.base:#x}-{self.end:#x}")
        return bytes(self.view[start : start + size])

    def up_to(self, address: int, size: int) -> bytes:
        """Bytes at an address, fewer where the buffer ends, none outside."""
        start = address - self.base
        return bytes(self.view[start : start + size]) if start >= 0 else b""

    def check(self, address: int, size: int, protected: Mapping[str, tuple[int, int]]) -> None:
        """PatchError if a site does not lie in executable text, or is over the poke's own code."""
        end = address + size
        low, high = self._last
        if not (low <= address and end <= high):
            inside = [(low, high) for low, high in self.executable if low <= address and end <= high]
            if not inside:
                raise PatchError(f"its {size} bytes are outside the text")
            self._last = inside[0]  # most sites lie where the one before did
        for name, (low, high) in protected.items():
            if address < high and low < end:
                raise PatchError(f"its {size} bytes are over {name}, which the poke itself runs")

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


def _bytes_of(buffer: Buffer) -> memoryview:
    try:
        return memoryview(buffer).cast("B")
    except (TypeError, ValueError, BufferError) as error:
        raise PatchError(f"the text is not a buffer of bytes: {error}") from None


class Extents:
    """Where sites lie, (address, bytes) each; 16 bytes a site, since there may be a million."""

    def __init__(self, sites: Iterable[tuple[int, int]] = ()) -> None:
        self.starts = array("Q")
        self.sizes = array("Q")
        for start, size in sites:
            self.add(start, size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts, self.sizes, strict=True)

    def add(self, start: int, size: int) -> None:
        """Add a site."""
        self.starts.append(start)
        self.sizes.append(size)

    def ascend(self) -> bool:
        """Whether each one begins after the start, and not before the end, of the one before."""
        ends = map(operator.add, self.starts, self.sizes)
        nexts = islice(self.starts, 1, None)
        return all(self.sizes) and all(map(operator.le, ends, nexts))

    def extend(self, others: Extents) -> None:
        """Add all of the others."""
        self.starts.extend(others.starts)
        self.sizes.extend(others.sizes)


def in_order(sites: Iterable[tuple[int, int]], run: int = 1 << 16) -> Iterator[tuple[int, int]]:
    """Sites, (address, bytes) each, by address: sorted run by run, and the runs merged as they are read."""
    rest, runs = iter(sites), list[Extents]()
    while portion := sorted(islice(rest, run)):
        runs.append(Extents(portion))
    return merge(*runs)


def merged(sites: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The address ranges [start, end) of sites that come by address: overlapping ones made one, empty ones left out."""
    low = high = 0
    for start, size in sites:
        if start >= high:
            if high > low:
                yield low, high
            low = high = start
        high = max(high, start + size)
    if high > low:
        yield low, high
