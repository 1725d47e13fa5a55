"""A kernel's text: where sites may lie, and the one way to write them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pvspec.runtime.rules import PatchError


def text_poke(text: Any, offset: int, insnbuf: bytes) -> None:
    """Write a whole site at once: `insnbuf` into `text` (any writable buffer), `offset` bytes from its start."""
    memoryview(text)[offset : offset + len(insnbuf)] = insnbuf


class Text:
    """A kernel's text in a writable buffer which lies at address `base`.

    `executable`: the ranges of addresses [start, end) in which sites may lie; without it the whole buffer.
    """

    def __init__(self, buffer: Any, base: int, executable: Sequence[tuple[int, int]] = ()) -> None:
        self.buffer = buffer
        self.view = memoryview(buffer).cast("B")
        self.base = base
        self.end = base + len(self.view)
        self.executable = sorted(executable) or [(base, self.end)]

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address; PatchError if they lie outside the buffer."""
        start = address - self.base
        if start < 0 or start + size > len(self.view):
            raise PatchError(f"{size} bytes at {address:#x} lie outside the image {self.base:#x}-{self.end:#x}")
        return bytes(self.view[start : start + size])

    def check(self, address: int, size: int, protected: Mapping[str, tuple[int, int]]) -> None:
        """PatchError if a site does not lie in executable text, or lies over the poke's own code."""
        end = address + size
        inside = any(low <= address and end <= high for low, high in self.executable)
        if not inside or address < self.base or end > self.end:
            raise PatchError(f"site {address:#x}: its {size} bytes lie outside the text")
        for name, (low, high) in protected.items():
            if address < high and low < end:
                raise PatchError(f"site {address:#x}: its {size} bytes lie over {name}, which the poke itself runs")

    def suspects(self, addresses: Sequence[int], longest: int, protected: Iterable[tuple[int, int]]) -> Iterator[int]:
        """Indices into sorted addresses: all sites that `check` could refuse, none longer than `longest` bytes."""
        inside = 0
        for low, high in self.executable:
            first = bisect_left(addresses, max(low, self.base))
            last = bisect_left(addresses, min(high, self.end) - longest + 1)
            yield from range(inside, max(inside, first))
            inside = max(inside, first, last)
        yield from range(inside, len(addresses))
        for low, high in protected:
            yield from range(bisect_left(addresses, low - longest), bisect_left(addresses, high))


def merged(sites: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Address ranges [start, end), sorted, those that overlap made one."""
    low = high = 0
    for start, end in sorted(sites):
        if start >= high:
            if high > low:
                yield low, high
            low, high = start, end
        high = max(high, end)
    if high > low:
        yield low, high
