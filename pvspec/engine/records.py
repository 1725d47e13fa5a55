"""Tables of sites: parsing and building records, and a whole table of patch sites by columns."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import product
from typing import NamedTuple, TypeVar

from pvspec.engine.errors import PatchError
from pvspec.engine.spec import Layout

R = TypeVar("R", bound=dict[str, int])


class PatchSite(NamedTuple):
    """One record of an interface's table: address, op number, length in bytes, mask of dead registers."""

    addr: int
    type: int
    len: int
    clobber: int = 0


def parse_records(layout: Layout, table: bytes | memoryview, address: int = 0) -> Iterator[dict[str, int]]:
    """The fields of each record of a table that lies at `address`; PatchError if the table is cut short."""
    return records_as(dict, layout, table, address)


def parse_sites(layout: Layout, table: bytes | memoryview, address: int = 0) -> list[PatchSite]:
    """The records of an interface's table that is at `address`; PatchError if it is cut short or lacks a field."""
    require_fields(layout, "addr", "type", "len")
    return [PatchSite(**record) for record in parse_records(layout, table, address)]


def records_as(kind: type[R], layout: Layout, table: bytes | memoryview, address: int) -> Iterator[R]:
    """As `parse_records`, with the fields in this kind of dict."""
    data = _whole(layout, table)
    formats = [_FORMATS.get((field.bits, field.relative)) for field in layout.fields]
    if layout.padded or layout.slack or None in formats or not _is_packed(layout):
        yield from map(kind, _parsed(layout, data, address))
        return
    names = [field.name for field in layout.fields]
    relative = [(field.name, field.at // 8) for field in layout.fields if field.relative]
    for values in struct.iter_unpack("<" + "".join(map(str, formats)), data):
        record = kind(zip(names, values, strict=True))
        for name, at in relative:
            record[name] += address + at
        yield record
        address += layout.size


def _is_packed(layout: Layout) -> bool:
    """Whether the fields follow one another, in full bytes, and fill the record."""
    ends = [field.at + field.bits for field in layout.fields]
    starts = [*(field.at for field in layout.fields), 8 * layout.size]
    return starts == [0, *ends] and not any(field.shift for field in layout.fields)


_FORMATS = {(32, True): "i", (8, False): "B", (16, False): "H", (32, False): "I", (64, False): "Q"}


def _parsed(layout: Layout, data: bytes, address: int) -> Iterator[dict[str, int]]:
    """The fields of each record, wherever they lie in it."""
    for start in range(0, len(data), layout.size):
        record = data[start : start + layout.size]
        if not layout.padded or any(record):
            yield _fields(layout, int.from_bytes(record, "little"), address + start)


def build_records(layout: Layout, records: Iterable[Mapping[str, int]], address: int = 0) -> bytes:
    """The table of these records, to lie at `address`; PatchError if a value does not fit its field."""
    out = bytearray()
    for record in records:
        word = 0
        for name, at, bits, relative, shift in layout.fields:
            value = record.get(name, 0)
            stored = value - (address + len(out) + at // 8) if relative else value
            if not fits(stored >> shift, bits, relative) or stored & (1 << shift) - 1:
                raise PatchError(f"{layout.section}: {name} = {value:#x} does not fit {bits} bits")
            stored >>= shift
            word |= (stored & ((1 << bits) - 1)) << at
        out += word.to_bytes(layout.size, "little")
    return bytes(out)


def fits(value: int, bits: int, signed: bool) -> bool:
    """Whether a value can be stored in so many bits."""
    return -1 << bits - 1 <= value < 1 << bits - 1 if signed else 0 <= value < 1 << bits


def require_fields(layout: Layout, *names: str) -> None:
    """PatchError if a record lacks one of these fields."""
    known = {field.name for field in layout.fields}
    for name in names:
        if name not in known:
            raise PatchError(f"{layout.section}: its records have no field {name}")


def _whole(layout: Layout, table: bytes | memoryview) -> bytes:
    """The table's bytes, with the padding that may be missing after the last record."""
    if not isinstance(table, bytes | bytearray | memoryview):  # bytes(5) would be five zeros
        raise PatchError(f"{layout.section}: a table is bytes, and this one {type(table).__name__}")
    data = bytes(table)
    missing = -len(data) % layout.size
    if missing > layout.slack:
        raise PatchError(f"{layout.section}: {len(data)} bytes is not a whole number of {layout.size}-byte records")
    return data + bytes(missing) if missing else data


def _fields(layout: Layout, word: int, address: int) -> dict[str, int]:
    values = {}
    for name, at, bits, relative, shift in layout.fields:
        value = word >> at & ((1 << bits) - 1)
        if relative:
            value = ((value - (value >> bits - 1 << bits)) << shift) + address + at // 8
        elif shift:
            value <<= shift
        values[name] = value
    return values


class Grid:
    """Big integers as rows of `count` lanes of `width` bits: `ones` has a 1 in each lane, `guards` the top bit.

    One addition then adds in all lanes: 2 ns a lane, where a loop takes 30 or more. What a lane holds leaves its top
    bit free. It is the guard: set before a subtraction, it is still set after it in just those lanes that did not
    have to borrow.
    """

    def __init__(self, width: int, count: int) -> None:
        self.width = width
        self.bytes = width * count // 8
        self.ones = int.from_bytes((b"\1" + bytes(width // 8 - 1)) * count, "little")
        self.guards = self.ones << width - 1
        self.last_guard = 1 << width * count - 1
        self.halves = self.each((1 << width // 2) - 1)
        self.octets = self.each(0xFF)
        self._addresses: dict[int, int] = {}

    def each(self, value: int) -> int:
        """The value in each lane."""
        return self.ones * value

    def address(self, address: int) -> int:
        """An address in each lane; one that no site can reach is as good as any other such."""
        if address not in self._addresses:
            self._addresses[address] = self.each(min(max(address, 0), 1 << self.width // 2 + 1))
        return self._addresses[address]

    def lanes(self, records: bytes) -> Lanes:
        """The lanes of records of struct paravirt_patch_site, as wide as a record."""
        word = int.from_bytes(records, "little")
        starts = word & self.halves
        return Lanes(self, starts, starts + (word >> self.width // 2 + 8 & self.octets))


class Lanes(NamedTuple):
    """Where many sites start and end, a lane each."""

    grid: Grid
    starts: int
    ends: int

    def from_on(self, address: int) -> int:
        """The guards of the sites that start at or after an address."""
        guards = self.grid.guards
        return (self.starts | guards) - self.grid.address(address) & guards

    def up_to(self, address: int) -> int:
        """The guards of the sites that end at or before an address."""
        guards = self.grid.guards
        return (self.grid.address(address) | guards) - self.ends & guards

    def apart(self) -> bool:
        """Whether each site ends at or before the next one's start."""
        guards = self.grid.guards
        nexts = self.starts >> self.grid.width
        followed = (nexts | guards) - self.ends & guards
        return followed | self.grid.last_guard == guards

    def extent(self) -> tuple[int, int]:
        """Where the first site starts and the last one ends."""
        width = self.grid.width
        return self.starts & (1 << width) - 1, self.ends >> 8 * self.grid.bytes - width

    def offsets(self, base: int) -> array[int]:
        """How far each site lies from `base`, after which all of them start."""
        distances = self.starts - self.grid.address(base)
        return _lower_halves(self.grid.width // 8, distances.to_bytes(self.grid.bytes, "little"))


class Columns:
    """A table of patch sites by columns, in the table's order: `addresses`, `keys`, `clobbers`.

    A key stands for an op number and a length; `kinds` maps keys to those. A kernel has many sites but few kinds:
    what holds for a kind is found out once. `kinds` may hold some that no site has. All kernels have the record
    of struct paravirt_patch_site (address, u8 type, u8 len, u16 clobber, padding; 2.6.23 to 6.6), which
    comes apart without a look at a single record: its key is the 16-bit cell of type and length.
    """

    keys: array[int]
    clobbers: array[int] | bytes
    kinds: dict[int, tuple[int, int]]

    def __init__(self, layout: Layout, table: bytes | memoryview, address: int = 0) -> None:
        self.size = layout.size
        self.cells = _whole(layout, table) if _is_paravirt_patch_site(layout) else None
        self.typecode = "Q" if self.cells is None else _TYPECODES[layout.size]
        if self.cells is not None:
            self._split(self.cells, len(layout.fields) > 3)
        else:
            self._parse(layout, table, address)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def addresses(self) -> array[int]:
        """Where the sites lie."""
        return self._parsed if self.cells is None else _lower_halves(self.size, self.cells)

    def site(self, index: int) -> PatchSite:
        """One record."""
        return PatchSite(self.addresses[index], *self.kinds[self.keys[index]], self.clobbers[index])

    def extents(self) -> Iterator[tuple[int, int]]:
        """Each site's address and length in bytes."""
        for address, key in zip(self.addresses, self.keys, strict=True):
            yield address, self.kinds[key][1]

    def lanes(self, count: int = 4096) -> Iterator[Lanes]:
        """The sites in portions of `count`, small enough for the CPU's caches; none if records had to be parsed."""
        cells, grid = self.cells or b"", None
        for start in range(0, len(cells), count * self.size):
            portion = cells[start : start + count * self.size]
            if grid is None or len(portion) < grid.bytes:
                grid = Grid(8 * self.size, len(portion) // self.size)
            yield grid.lanes(portion)

    def _split(self, cells: bytes, has_clobber: bool) -> None:
        half = self.size // 2
        words = _array("H", cells)
        self.keys = words[half // 2 :: half]
        self.clobbers = words[half // 2 + 1 :: half] if has_clobber else bytes(len(self.keys))
        types, lengths = _present(cells[half :: self.size]), _present(cells[half + 1 :: self.size])
        if len(types) * len(lengths) < len(self.keys):
            self.kinds = {type | length << 8: (type, length) for type, length in product(types, lengths)}
        else:
            self.kinds = {key: (key & 0xFF, key >> 8) for key in set(self.keys)}

    def _parse(self, layout: Layout, table: bytes | memoryview, address: int) -> None:
        require_fields(layout, "addr", "type", "len")
        self._parsed, self.keys, self.clobbers = array("Q"), array("L"), array("Q")
        numbers: dict[tuple[int, int], int] = {}
        for fields in parse_records(layout, table, address):
            self._parsed.append(fields["addr"] & (1 << 64) - 1)
            self.keys.append(numbers.setdefault((fields["type"], fields["len"]), len(numbers)))
            self.clobbers.append(fields.get("clobber", 0))
        self.kinds = {number: kind for kind, number in numbers.items()}


def _is_paravirt_patch_site(layout: Layout) -> bool:
    half = 4 * layout.size
    fields = (("addr", 0, half, False, 0), ("type", half, 8, False, 0), ("len", half + 8, 8, False, 0))
    clobber = ("clobber", half + 16, 16, False, 0)
    return layout.size in (8, 16) and not layout.padded and layout.fields in (fields, (*fields, clobber))


def _lower_halves(size: int, cells: bytes) -> array[int]:
    """The first half of each cell of 8 or 16 bytes, as a number."""
    return _array(_TYPECODES[size], cells)[::2]


_TYPECODES = {8: "I", 16: "Q"}


def _array(typecode: str, cells: bytes) -> array[int]:
    column: array[int] = array(typecode)
    column.frombytes(cells)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _present(column: bytes) -> bytes:
    """The byte values that occur. bytes.translate finds them in 0.5 ns a byte, a set in 9."""
    every = bytes(range(256))
    return every.translate(None, every.translate(None, column))
