"""The memory of an i386 kernel by address: text or data, words, instructions, and references to addresses."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterator, Sequence
from itertools import chain, islice

from pvspec.engine.instructions import instruction_length
from pvspec.kernel.symbols.table import Symbol
from pvspec.kernel.work import Work

WORD = 0xFFFFFFFF

_MAX_PAGES = 16
"""Pages of 64 KiB that have what pointers are looked for to; if there are more, none are found."""
_MAX_PLACES = 50_000
"""Words of an i386 kernel that may be the pointers that are looked for; if there are more, none are found."""
_BYTES_PER_UNIT, _PLACE_WORK = 64, 20  # units of work: bytes that are searched once, and a word that is looked at


class CodeView:
    """The memory from the virtual address `base` on. Words are u32 and, unless stated otherwise, addresses.

    `executable` are the [start, end) ranges of the text, `symbols` those of its functions, both ascending. Memory and
    text end below 4 GiB.
    """

    def __init__(
        self,
        memory: bytearray,
        base: int,
        executable: Sequence[tuple[int, int]],
        symbols: Sequence[Symbol],
        work: Work,
    ) -> None:
        self.memory, self.base, self.symbols, self.work = memory, base, symbols, work
        inside = [(max(start, base), min(end, self.end)) for start, end in executable]
        self._edges = list(chain.from_iterable((start, end) for start, end in inside if start < end))
        self._starts = [symbol.address for symbol in symbols]
        self._by_name = {symbol.name: symbol.address for symbol in symbols}

    @property
    def end(self) -> int:
        """The address after the memory."""
        return self.base + len(self.memory)

    def named(self, name: str) -> int | None:
        """The address of the function of that name; None if it is unknown."""
        return self._by_name.get(name)

    def is_text(self, address: int) -> bool:
        """Whether there is code at an address."""
        return bisect_right(self._edges, address) % 2 == 1

    def is_data(self, address: int) -> bool:
        """Whether there is an aligned word at an address that is not code."""
        return not address % 4 and self.base <= address <= self.end - 4 and not self.is_text(address)

    def read(self, start: int, end: int) -> bytearray:
        """The bytes from `start` to `end`, as far as they are in the memory."""
        return self.memory[max(start - self.base, 0) : max(end - self.base, 0)]

    def word(self, address: int) -> int:
        """The word at an address in the memory."""
        return int.from_bytes(self.read(address, address + 4), "little")

    def target(self, address: int) -> int:
        """The target of the call or jump of five bytes at an address in the memory."""
        return (self.word(address + 1) + address + 5) & WORD

    def function(self, address: int) -> tuple[int, int]:
        """[start, end) of the function around an address: from symbol to symbol, empty outside all of them."""
        after = bisect_right(self._starts, address)
        return (self._starts[after - 1], self._starts[after]) if 0 < after < len(self._starts) else (address, address)

    def instructions(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Each instruction with its address, up to the first invalid one."""
        code = bytes(self.read(start, end))
        at = 0
        while length := instruction_length(code, at, 32):
            yield start + at, code[at : at + length]
            at += length

    def mentions(self, addresses: Container[int], pages: set[int]) -> list[int]:
        """Where a word, aligned or not, is one of the addresses, all of which are in these pages (address >> 16).

        Empty if there are too many pages, or too many words that are addresses in them.
        """
        if len(pages) > _MAX_PAGES:
            return []
        self.work.add(len(pages) * len(self.memory) // _BYTES_PER_UNIT, "the search for pointers")
        self.work.add(_MAX_PLACES * _PLACE_WORK, "the search for pointers")
        places = list(islice(chain.from_iterable(map(self._in_page, sorted(pages))), _MAX_PLACES))
        return [place for place in places if self.word(place) in addresses] if len(places) < _MAX_PLACES else []

    def _in_page(self, page: int) -> Iterator[int]:
        """Where a word is an address in the page."""
        high = page.to_bytes(2, "little")
        at = self.memory.find(high, 2)
        while at >= 0:
            yield self.base + at - 2
            at = self.memory.find(high, at + 1)
