"""Whole tables of sites: all that can be wrong is found first, then each site gets one poke.

Code that is being patched may be the code that patches (Linux commit ab144f5ec64c, "i386: Make patching more
robust, fix paravirt issue"), hence one write a site, and none over what the write itself runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from pvspec.runtime.patcher import KEPT, Patcher, Row
from pvspec.runtime.records import Columns, parse_records
from pvspec.runtime.rules import Copy, Family, PatchBug, PatchError
from pvspec.runtime.text import Text, merged, text_poke

Poke: TypeAlias = Callable[[int, bytes], object]


class Writer(NamedTuple):
    """How the sites of one rest are written: `pack` takes the head, for a relative field its value, and the tail."""

    pack: Callable[..., None]
    head: bytes
    value: int | None
    tail: bytes


class Kernel(Patcher):
    """A `Patcher` that patches whole tables too."""

    def apply(
        self,
        table: bytes | memoryview,
        text: Any,
        base: int,
        *,
        table_address: int = 0,
        executable: Sequence[tuple[int, int]] = (),
        poke: Poke | None = None,
    ) -> int:
        """Patch all sites of the interface's table, one poke each; return the number of sites.

        `text` is a writable buffer at address `base`, `executable` as for `Text`; `poke(addr, code)` is called for
        each site in place of the writing. PatchError: nothing was written.
        """
        place = Text(text, base, executable)
        columns, codes = self._plan_ops(table, table_address, place)
        if poke is None:
            self._write(columns, codes, place)
        else:
            for addr, rest in zip(columns.addresses, columns.rests, strict=True):
                poke(addr, self._code(codes[rest], addr, columns.distinct[rest].len, place))
        return len(columns.addresses)

    def apply_family(
        self,
        name: str,
        table: bytes | memoryview,
        text: Any,
        base: int,
        *,
        table_address: int = 0,
        executable: Sequence[tuple[int, int]] = (),
        poke: Poke | None = None,
    ) -> int:
        """As `apply`, for the table of a family."""
        tables = {name: (table, table_address)}
        return self.apply_passes(tables, text, base, executable=executable, poke=poke, order=(name,))

    def apply_passes(
        self,
        tables: Mapping[str, tuple[bytes | memoryview, int]],
        text: Any,
        base: int,
        *,
        executable: Sequence[tuple[int, int]] = (),
        poke: Poke | None = None,
        order: Sequence[str] | None = None,
    ) -> int:
        """Patch several tables: interface or family name to the table and its address. Returns the number of pokes.

        A later pass sees what an earlier one made of a site; each site is poked once, when all passes are done.
        """
        place = Text(text, base, executable)
        shadow = Text(bytearray(place.view), base, executable)
        sites: list[tuple[int, int]] = []
        for name in self.spec.passes if order is None else order:
            if name in tables:
                sites += self._pass(name, *tables[name], shadow)
        pokes = list(merged(sites))
        for start, end in pokes:
            code = shadow.read(start, end - start)
            if poke is None:
                text_poke(place.view, start - base, code)
            else:
                poke(start, code)
        return len(pokes)

    # ---- an interface's table, by its columns

    def _plan_ops(
        self, table: bytes | memoryview, address: int, place: Text
    ) -> tuple[Columns, dict[int, Row | Iterator[bytes]]]:
        """The table's columns, and for each rest its row, or the codes of its sites one by one. All is checked."""
        interface = self.spec.interface
        if interface is None:
            raise PatchError("the spec has no interface")
        columns = Columns(interface.layout, table, address)
        self._check(columns, place, self.protected(interface.names))
        codes: dict[int, Row | Iterator[bytes]] = {}
        for rest, site in columns.distinct.items():
            row = self._located_row(columns, rest)
            same = not self.asks(site.type) and self._packs(row, columns)
            codes[rest] = row if same else iter([*self._each(columns, rest, place)])
        return columns, codes

    def _check(self, columns: Columns, place: Text, protected: Mapping[str, tuple[int, int]]) -> None:
        longest = max((site.len for site in columns.distinct.values()), default=0)
        for index in place.suspects(columns.addresses, longest, protected.values()):
            place.check(columns.addresses[index], columns.distinct[columns.rests[index]].len, protected)
        overlap = columns.first_overlap()
        if overlap:
            raise PatchError(f"site {overlap[0]:#x} overlaps site {overlap[1]:#x}")

    def _located_row(self, columns: Columns, rest: int) -> Row:
        site = columns.distinct[rest]
        try:
            return self.row(site.type, site.clobber, site.len)
        except PatchError as error:
            first = columns.addresses[columns.rests.index(rest)]
            raise error.__class__(f"site {first:#x}: {error}") from None

    def _each(self, columns: Columns, rest: int, place: Text) -> Iterator[bytes]:
        length = columns.distinct[rest].len
        for addr, other in zip(columns.addresses, columns.rests, strict=True):
            if other == rest:
                yield self._code(self._located_row(columns, rest), addr, length, place)

    def _code(self, row: Row | Iterator[bytes], addr: int, length: int, place: Text) -> bytes:
        if not isinstance(row, Row):
            return next(row)
        return place.read(addr, length) if row is KEPT else self.placed(row, addr)

    def _packs(self, row: Row, columns: Columns) -> bool:
        """Whether every site of a row can be written by one `pack`: at most one rel32, in reach of all sites."""
        if not row.relative:
            return True
        if len(row.relative) > 1 or row.relative[0][1] != 4:
            return False
        value = row.relative[0][2]
        ends = columns.addresses[0], columns.addresses[-1]
        return self.spec.machine.bits == 32 or all(-1 << 31 <= value - addr < 1 << 31 for addr in ends)

    def _write(self, columns: Columns, codes: Mapping[int, Row | Iterator[bytes]], place: Text) -> None:
        writers = {rest: _writer(row) for rest, row in codes.items() if isinstance(row, Row)}
        buffer, base, known = place.view, place.base, writers.get
        for addr, rest in zip(columns.addresses, columns.rests, strict=True):
            writer = known(rest)
            if writer is None:
                text_poke(buffer, addr - base, self._code(codes[rest], addr, columns.distinct[rest].len, place))
                continue
            pack, head, value, tail = writer
            if value is not None:
                pack(buffer, addr - base, head, value - addr & 0xFFFFFFFF, tail)
            elif pack is not _leave:
                pack(buffer, addr - base, head)

    # ---- passes, on a copy of the text

    def _pass(self, name: str, table: bytes | memoryview, address: int, shadow: Text) -> Iterator[tuple[int, int]]:
        """Apply one pass to the copy; the address range [start, end) of each site."""
        interface = self.spec.interface
        if interface is not None and name == interface.name:
            columns, codes = self._plan_ops(table, address, shadow)
            self._write(columns, codes, shadow)
            for addr, rest in zip(columns.addresses, columns.rests, strict=True):
                yield addr, addr + columns.distinct[rest].len
        elif name in self.spec.families:
            yield from self._family_pass(self.spec.families[name], table, address, shadow)
        else:
            raise PatchError(f"there is no family {name!r}")

    def _family_pass(
        self, family: Family, table: bytes | memoryview, address: int, shadow: Text
    ) -> Iterator[tuple[int, int]]:
        protected, sites = self.protected(family.names), set[tuple[int, int]]()
        for record in parse_records(family.layout, table, address):
            start, length = record["site"], family.length or record["len"]
            try:
                code = self._family_code(family, record, start, length, shadow)
            except PatchError as error:
                raise error.__class__(f"{family.name}: site {start:#x}: {error}") from None
            if code is None:
                continue
            shadow.check(start, length, protected)
            if (start, start + length) in sites and not family.stacked:
                raise PatchError(f"{family.name}: two records for site {start:#x}")
            sites.add((start, start + length))
            text_poke(shadow.view, start - shadow.base, code)
        for one, other in pairwise(sorted(sites)):
            if other[0] < one[1] and not (family.stacked and other[0] == one[0]):
                raise PatchError(f"{family.name}: site {one[0]:#x} overlaps site {other[0]:#x}")
        yield from sites

    def _family_code(
        self, family: Family, record: Mapping[str, int], site: int, length: int, shadow: Text
    ) -> bytes | None:
        """The code of one record's site, None if it stays as it is."""
        for arm in family.rule:
            if isinstance(arm, Copy):
                if arm.guard is None or self.holds(arm.guard, record):
                    return self.padded(self._copied(arm, record, site, length, shadow), length)
                continue
            row = self.choose((arm,), 0, length, record)
            if row is not None:
                return None if row is KEPT else self.placed(row, site)
        return None

    def _copied(self, arm: Copy, record: Mapping[str, int], site: int, length: int, shadow: Text) -> bytes:
        source, size = record[arm.address], record[arm.size]
        if size > length:
            raise PatchBug(f"{arm.where}: a replacement of {size} bytes for a site of {length}")
        code = shadow.read(source, size)
        return self.padded(relocated(code, source, site), size) if arm.relocated else code


def relocated(code: bytes, source: int, site: int) -> bytes:
    """Code copied from `source` to `site`; a call or jump that is all of it keeps its target.

    As Linux 6.1 arch/x86/kernel/alternative.c, apply_alternatives() and recompute_jump(): a jump forward that
    8 bits reach becomes the short one, a jump back never does.
    """
    if len(code) != 5 or code[0] not in (_CALL, _JMP):
        return code
    distance = source - site + int.from_bytes(code[1:], "little", signed=True)
    if code[0] == _JMP and 0 <= distance + 5 <= 2 + 127:
        return bytes((_JMP_SHORT, distance + 5 - 2 & 0xFF))
    return code[:1] + (distance & 0xFFFFFFFF).to_bytes(4, "little")


_CALL, _JMP, _JMP_SHORT = 0xE8, 0xE9, 0xEB


def _writer(row: Row) -> Writer:
    if row is KEPT:
        return Writer(_leave, b"", None, b"")
    if not row.relative:
        return Writer(Struct(f"{len(row.code)}s").pack_into, row.code, None, b"")
    ((offset, size, value),) = row.relative
    head, tail = row.code[:offset], row.code[offset + size :]
    return Writer(Struct(f"<{offset}sI{len(tail)}s").pack_into, head, value, tail)


def _leave(*_: object) -> None:
    """Write nothing: the original instructions stay."""
