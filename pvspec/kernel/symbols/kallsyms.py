"""kallsyms: the compressed symbol table that a kernel carries in its own .rodata.

Written by scripts/kallsyms.c, read by kernel/kallsyms.c. Its parts, found here by their structure alone:

* num_syms: u32; names: for each symbol a length (one byte; from Linux 6.1 on, above 127, two, ULEB128) and that
  many token numbers; what they expand to is the kind letter and the name.
* markers: u32, for every 256th symbol its offset in names.
* token_table: 256 NUL-terminated strings; token_index: u16, the offset of each.
* offsets and relative_base (CONFIG_KALLSYMS_BASE_RELATIVE, Linux 4.6 on): the address is relative_base plus an u32.
  With CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86_64 with SMP, up to 6.14) it is instead an s32: the address itself unless
  negative, else relative_base - 1 - offset. Otherwise there are addresses, one pointer each.

* seqs_of_names (Linux 6.2 on, and 6.1 stable): 3 bytes a symbol, the order by name.

Order: up to Linux 6.3 addresses (or offsets, relative_base), num_syms, names, markers, seqs_of_names, token_table,
token_index; since 6.4 the addresses or offsets come after token_index, and seqs_of_names after them. Each part is
aligned to the pointer size.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import le, lt

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import MAX_NAMES
from pvspec.kernel.symbols.table import MAX_SYMBOLS, SYMBOL_WORK, Symbol
from pvspec.kernel.work import Work

_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_FIRST_DIGIT = ord("0")
_MARKED = 256
_MAX_NAME = 512
"""Bytes of a name in kallsyms: KSYM_NAME_LEN since Linux 6.1. A table with a longer one is not taken for kallsyms."""
_MAX_REACH = 32 << 20
"""Bytes of kallsyms' names, markers and order by name; a kernel with more counts as one without."""
_REACHES = (4 << 20, _MAX_REACH)  # usual, and most
_MAX_WALKS = 8
"""Places where the names of kallsyms may begin that are tried to their end, near the tokens and far from them each; a
kernel whose names are at none of them has no symbols that can be read."""
_MAX_PLACES = 30_000
"""Places where the names of kallsyms may begin that are looked at; those that are further from the tokens are not."""
_MAX_TOKEN_TABLES = 1000
"""Places in an image that are looked at for the tokens of kallsyms; later ones are not."""

# units of work
_TOKEN_TABLE_WORK = 1000  # a place that may be a token table: 128 KiB are taken apart
_PLACE_WORK = 20  # a place where names may begin, besides its markers
_WORDS_PER_UNIT, _MARKERS_PER_UNIT, _TOKENS_PER_UNIT = 2, 2, 3


def decode_kallsyms(memory: bytearray, base: int, bits: int, work: Work) -> list[Symbol]:
    """All symbols of the kernel in `memory`, in the order of /proc/kallsyms: by address, the per-CPU ones first.

    `base` is the virtual address of the first byte. Returns an empty list if there is no token table; raises ImageError
    if there is one, but the other tables cannot be found.
    """
    tables = _token_tables(memory, bits, work)
    return next((_Tables(memory, base, bits, work, *tokens).symbols() for tokens in tables), [])


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _token_tables(memory: bytearray, bits: int, work: Work) -> Iterator[tuple[int, list[bytes], int]]:
    """Each possible (start, tokens, end of the index).

    A character that occurs in names stands for itself, and all digits occur in the names of a kernel.
    """
    found = memory.find(_DIGITS)
    for _ in range(_MAX_TOKEN_TABLES):
        if found < 0:
            return
        work.add(_TOKEN_TABLE_WORK, "the search for kallsyms")
        if table := _token_table(memory, found, bits // 8):
            yield table
        found = memory.find(_DIGITS, found + 1)


def _token_table(memory: bytearray, digits: int, alignment: int) -> tuple[int, list[bytes], int] | None:
    rest = memory[digits : digits + _MARKED * _MAX_NAME].split(b"\0", _MARKED - _FIRST_DIGIT)[:-1]
    index_at = _align(digits + sum(map(len, rest)) + len(rest), alignment)
    index = _integers(memory, "H", index_at, _MARKED)
    if not index:
        return None
    start = digits - index[_FIRST_DIGIT]
    tokens = bytes(memory[max(start, 0) : index_at]).split(b"\0", _MARKED)[:_MARKED]
    if start < 0 or list(index) != _offsets(tokens):
        return None
    return start, tokens, index_at + 2 * _MARKED


def _offsets(tokens: Sequence[bytes]) -> list[int]:
    offsets = [0]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token) + 1)
    return offsets


def _integers(memory: bytearray, code: str, offset: int, count: int) -> array[int]:
    """`count` little-endian integers of that array type; empty if they are outside the memory."""
    integers = array(code)
    size = count * integers.itemsize
    if 0 <= offset <= len(memory) - size:
        integers.frombytes(memory[offset : offset + size])
    if sys.byteorder == "big":
        integers.byteswap()
    return integers


class _Tables:
    """The tables around one token table. Offsets are those in `memory`."""

    def __init__(
        self, memory: bytearray, base: int, bits: int, work: Work, start: int, tokens: list[bytes], end: int
    ) -> None:
        self._memory, self._base, self._pointer, self._work = memory, base, bits // 8, work
        self._word = "Q" if bits == 64 else "I"
        self._start, self._tokens, self._end = start, tokens, end

    def symbols(self) -> list[Symbol]:
        names_at, names = self._find_names()
        addresses = self._find_addresses(names_at - self._pointer, len(names))
        texts = b"\n".join(names).decode("latin-1").split("\n")
        if len(texts) != len(names):
            raise ImageError("kallsyms: a symbol name contains a newline, which is impossible")
        if "" in texts:
            raise ImageError("kallsyms: a symbol consists of tokens that are empty, which is impossible")
        return [Symbol(address, text[0], text[1:]) for address, text in zip(addresses, texts, strict=True)]

    def _find_names(self) -> tuple[int, list[bytes]]:
        """Where the names begin, and the names: the candidate that agrees with its markers."""
        for reach in _REACHES:
            for names_at, count, markers_at in islice(self._places(min(reach, self._start)), _MAX_WALKS):
                if names := self._expand(names_at, count, markers_at):
                    return names_at, names
        raise ImageError("kallsyms: the token table was found, but no symbol names before it")

    def _places(self, reach: int) -> Iterator[tuple[int, int, int]]:
        """Where names may begin: (their offset, num_syms before it, offset of markers).

        At most `reach` bytes before the tokens, the nearest first: the offsets, full of numbers, are further off.
        A symbol takes at least three bytes (length, token, seqs_of_names or not) and seldom more than 64.
        """
        pointer = self._pointer
        self._work.add(reach // pointer // _WORDS_PER_UNIT, "the search for the names of kallsyms")
        words = _integers(self._memory, self._word, self._start - reach, reach // pointer)
        fitting = (
            (self._start - distance * pointer, count)
            for distance, count in enumerate(reversed(words))
            if 0 < count < MAX_SYMBOLS and 3 * count <= distance * pointer <= 64 * count + 64
        )
        for names_at, count in islice(fitting, _MAX_PLACES):
            for markers_at in self._markers(names_at, count):
                yield names_at, count, markers_at

    def _markers(self, names_at: int, count: int) -> Iterator[int]:
        """Where the markers of so many symbols may begin: before the tokens, with seqs_of_names between or not."""
        number = -(-count // _MARKED)
        end = self._start - _align(4 * number, self._pointer)
        for markers_at in (end, end - _align(3 * count, self._pointer)):
            self._work.add(_PLACE_WORK + number // _MARKERS_PER_UNIT, "the search for the names of kallsyms")
            if names_at < markers_at and self._are_markers(markers_at, number, markers_at - names_at):
                yield markers_at

    def _are_markers(self, offset: int, number: int, size: int) -> bool:
        """Whether they ascend from 0 and leave room for one block in `size` bytes of names, and for no more."""
        markers = _integers(self._memory, "I", offset, number)
        if not markers or markers[0] or not markers[-1] < size <= markers[-1] + _MARKED * _MAX_NAME:
            return False
        return all(map(lt, markers, markers[1:]))

    def _expand(self, names_at: int, count: int, markers_at: int) -> list[bytes] | None:
        """The names, if they are what the markers say they are, and no longer than a kernel's."""
        packed = bytes(self._memory[names_at:markers_at])
        self._work.add(count * SYMBOL_WORK + len(packed) // _TOKENS_PER_UNIT, f"the names of {count} symbols")
        if not self._is_small(packed):
            return None
        try:
            names, markers, size = _expand(packed, count, self._tokens)
        except (IndexError, ValueError):
            return None
        stored = _integers(self._memory, "I", markers_at, len(markers))
        if markers != stored or _align(names_at + size, self._pointer) != markers_at:
            return None
        return names if max(map(len, names)) <= _MAX_NAME else None

    def _is_small(self, packed: bytes) -> bool:
        """Whether these tokens expand to no more than MAX_NAMES bytes."""
        lengths = [len(token) for token in self._tokens]
        if len(packed) * max(lengths) <= MAX_NAMES:  # as in every kernel that is known
            return True
        return sum(map(lengths.__getitem__, packed)) <= MAX_NAMES

    def _find_addresses(self, count_at: int, count: int) -> list[int]:
        after_tokens = _align(self._end, self._pointer)
        size = _align(4 * count, self._pointer)
        before = count_at - self._pointer
        candidates = (
            self._relative(before - size, before, count),
            self._relative(after_tokens, after_tokens + size, count),
            self._absolute(count_at - self._pointer * count, count),
            self._absolute(after_tokens, count),
        )
        found = next(filter(self._plausible, candidates), None)
        if found is None:
            raise ImageError("kallsyms: the symbol names were found, but no addresses next to them")
        return found

    def _relative(self, offsets_at: int, base_at: int, count: int) -> list[int]:
        base = int.from_bytes(self._memory[max(base_at, 0) : base_at + self._pointer], "little")
        offsets = _integers(self._memory, "i", offsets_at, count)
        if not offsets or not self._base <= base < self._base + len(self._memory):
            return []
        if min(offsets) < 0:  # an image is smaller than 2 GiB: these must be KALLSYMS_ABSOLUTE_PERCPU
            return [offset if offset >= 0 else base - 1 - offset for offset in offsets]
        return [base + offset for offset in offsets]

    def _absolute(self, addresses_at: int, count: int) -> list[int]:
        return list(_integers(self._memory, self._word, addresses_at, count))

    def _plausible(self, addresses: list[int]) -> bool:
        """Ascending, and more than half of them in the image."""
        if not addresses or not self._base <= addresses[len(addresses) // 2] <= self._base + len(self._memory):
            return False
        return all(map(le, addresses, addresses[1:]))


def _expand(packed: bytes, count: int, tokens: Sequence[bytes]) -> tuple[list[bytes], array[int], int]:
    """`count` names, their markers, and the bytes they take.

    Raises IndexError if `packed` ends too early, ValueError for an empty name. This is the inner loop.
    """
    names: list[bytes] = []
    markers = array("I")
    token, at = tokens.__getitem__, 0
    for number in range(count):
        if not number % _MARKED:
            markers.append(at)
        length = packed[at]
        at += 1
        if not length:
            raise ValueError("empty name")
        if length > 127:
            length = length & 127 | packed[at] << 7
            at += 1
        names.append(b"".join(map(token, packed[at : at + length])))
        at += length
    return names, markers, at
