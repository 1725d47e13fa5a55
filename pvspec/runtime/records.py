"""Tables of sites: parsing and building records, and the two columns of a whole table."""

from __future__ import annotations

import operator
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from pvspec.runtime.rules import Layout, PatchError


class PatchSite(NamedTuple):
    """One record of an interface's table: address, op number, length in bytes, mask of dead registers."""

    addr: int
    type: int
    len: int
    clobber: int = 0


def parse_records(layout: Layout, table: bytes | memoryview, address: int = 0) -> Iterator[dict[str, int]]:
    """The fields of each record of a table that lies at `address`; PatchError if the table is cut short."""
    data = bytes(table)
    for index in range(_count(layout, len(data))):
        start = index * layout.size
        record = data[start : start + layout.size]
        if not layout.padded or any(record):
            yield _fields(layout, int.from_bytes(record, "little"), address + start)


def build_records(layout: Layout, records: Iterable[Mapping[str, int]], address: int = 0) -> bytes:
    """The table of these records, to lie at `address`; PatchError if a value does not fit its field."""
    out = bytearray()
    for record in records:
        word = 0
        for name, at, bits, relative in layout.fields:
            value = record.get(name, 0) - (address + len(out) + at // 8 if relative else 0)
            if not fits(value, bits, relative):
                raise PatchError(f"{layout.section}: {name} = {record[name]:#x} does not fit {bits} bits")
            word |= (value & ((1 << bits) - 1)) << at
        out += word.to_bytes(layout.size, "little")
    return bytes(out)


def fits(value: int, bits: int, signed: bool) -> bool:
    """Whether a value can be stored in so many bits."""
    return -1 << bits - 1 <= value < 1 << bits - 1 if signed else 0 <= value < 1 << bits


def _count(layout: Layout, size: int) -> int:
    count, rest = divmod(size, layout.size)
    if rest and rest < layout.size - layout.slack:
        raise PatchError(f"{layout.section}: {size} bytes are no whole number of {layout.size}-byte records")
    return count + bool(rest)


def _fields(layout: Layout, word: int, address: int) -> dict[str, int]:
    values = {}
    for name, at, bits, relative in layout.fields:
        value = word >> at & ((1 << bits) - 1)
        if relative:
            value += address + at // 8 - (value >> bits - 1 << bits)
        values[name] = value
    return values


class Columns:
    """A table of sites as two columns: `addresses`, and `rests`, which stand for all else in a record.

    `distinct` says what each rest stands for. A kernel has many sites but few rests: what holds for a rest is
    found out once. Both columns are ordered by address.
    """

    addresses: Any
    rests: Any
    distinct: dict[int, PatchSite]

    def __init__(self, layout: Layout, table: bytes | memoryview, address: int = 0) -> None:
        if _is_halved(layout) and len(table) % layout.size == 0:
            self._split(layout, table)
        else:
            self._parse(layout, table, address)
        if not self._is_sorted():
            order = sorted(range(len(self.addresses)), key=self.addresses.__getitem__)
            self.addresses = array(self.addresses.typecode, map(self.addresses.__getitem__, order))
            self.rests = array(self.rests.typecode, map(self.rests.__getitem__, order))

    def _split(self, layout: Layout, table: bytes | memoryview) -> None:
        cells = array("I" if layout.size == 8 else "Q")
        cells.frombytes(table)
        if sys.byteorder == "big":
            cells.byteswap()
        self.addresses, self.rests = cells[::2], cells[1::2]
        half = 4 * layout.size
        self.distinct = {rest: PatchSite(**_fields(layout, rest << half, 0)) for rest in set(self.rests)}

    def _parse(self, layout: Layout, table: bytes | memoryview, address: int) -> None:
        self.addresses, self.rests, numbers = array("Q"), array("Q"), dict[PatchSite, int]()
        for fields in parse_records(layout, table, address):
            self.addresses.append(fields["addr"])
            self.rests.append(numbers.setdefault(PatchSite(**{**fields, "addr": 0}), len(numbers)))
        self.distinct = {number: site for site, number in numbers.items()}

    def _is_sorted(self) -> bool:
        return all(map(operator.le, self.addresses, islice(self.addresses, 1, None)))

    def first_overlap(self) -> tuple[int, int] | None:
        """The addresses of two sites of which the first reaches into the second, or None."""
        lengths = {rest: site.len for rest, site in self.distinct.items()}
        end = before = -1
        for address, rest in zip(self.addresses, self.rests, strict=True):
            if address < end or address == before:
                return before, address
            before, end = address, address + lengths[rest]
        return None


def _is_halved(layout: Layout) -> bool:
    """Whether a record is an address and as many bytes of everything else, which the fast split needs."""
    first, *others = sorted(layout.fields, key=lambda f: f.at)
    half = 4 * layout.size
    aligned = first.name == "addr" and first.bits == half and not first.relative and layout.size in (8, 16)
    return aligned and not layout.padded and not any(f.relative for f in others)
