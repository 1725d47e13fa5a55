"""Whole tables of sites: all that can be wrong is found first, then each site gets one poke.

Code that is being patched may be the code that patches (Linux commit ab144f5ec64c, "i386: Make patching more
robust, fix paravirt issue"), hence one write a site, and none over what the write itself runs.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from pvspec.engine.breakpoint import poke_by
from pvspec.engine.errors import PatchError
from pvspec.engine.families import FamilySites, Outcome
from pvspec.engine.patch import REL32_REACH, UNCHANGED, Candidate, Patcher
from pvspec.engine.records import Columns, PatchSite
from pvspec.engine.sites import FamilySite, State
from pvspec.engine.text import PACKS, Buffer, Extents, Pack, Text, in_order, merged

Poke: TypeAlias = Callable[[int, bytes], object]
Table: TypeAlias = bytes | memoryview

Choice: TypeAlias = tuple[int, Pack, bytes, int, bytes, Iterable[Candidate]]
"""(needs, pack, head, value, tail, others): a candidate with a rel32, and those tried for a site that it does not fit.

Its values count from the text's base, as offsets do. The others are the kind's other candidates, or an iterator that
has one candidate ready for each of its sites.
"""

Writer: TypeAlias = tuple[Pack, bytes, Choice | None]
"""How the sites of one kind are written: by `pack` and the code, or else by a choice."""

_NEVER = -1  # needs that no clobber mask meets
_NO_PROTECTED: Mapping[str, tuple[int, int]] = {}


class Plan(NamedTuple):
    """What will be written, when nothing can be wrong any more: for each site its offset and its kind's writer."""

    columns: Columns
    offsets: array[int]
    writers: Sequence[Writer]


class Kernel(Patcher):
    """A `Patcher` that patches whole tables too."""

    def apply(
        self,
        table: Table,
        text: Buffer,
        base: int,
        *,
        table_address: int = 0,
        executable: Sequence[tuple[int, int]] = (),
        poke: Poke | None = None,
        strategy: str = "marshalled",
        sync: Callable[[], object] | None = None,
    ) -> int:
        """Patch all sites of the interface's table, one poke each; return the number of sites.

        `text` is a writable buffer at address `base`, `executable` as for `Text`; `poke(addr, code)` is called for
        each site in place of the writing. `strategy`, `sync`: see `poke_by`. PatchError: nothing was written.
        """
        place = self._text(text, base, executable, poke)
        write = poke_by(strategy, poke or place.poke, sync)
        plan = self._plan(table, table_address, place)
        if write == place.poke and type(place.buffer) is bytearray:  # nobody else sees it: the fastest writes will do
            self._write(plan, place)
            return len(plan.columns)
        copy = place.copy()
        self._write(plan, copy)
        for address, length in plan.columns.extents():
            write(address, copy.read(address, length))
        return len(plan.columns)

    def apply_family(
        self,
        name: str,
        table: Table,
        text: Buffer,
        base: int,
        *,
        table_address: int = 0,
        executable: Sequence[tuple[int, int]] = (),
        poke: Poke | None = None,
        strategy: str = "marshalled",
        sync: Callable[[], object] | None = None,
    ) -> int:
        """As `apply`, for the table of a family."""
        tables = {name: (table, table_address)}
        return self.apply_passes(
            tables, text, base, executable=executable, poke=poke, order=(name,), strategy=strategy, sync=sync
        )

    def apply_passes(
        self,
        tables: Mapping[str, tuple[Table, int]],
        text: Buffer,
        base: int,
        *,
        executable: Sequence[tuple[int, int]] = (),
        poke: Poke | None = None,
        order: Sequence[str] | None = None,
        state: State | None = None,
        strategy: str = "marshalled",
        sync: Callable[[], object] | None = None,
    ) -> int:
        """Patch several tables: interface or family name to the table and its address. Returns the number of pokes.

        A later pass sees what an earlier one made of a site; each site is poked once, when all passes are done.
        `state` gives memory as it is while the kernel runs; without it, it is what the text's buffer holds.
        PatchError: nothing was written.
        """
        place = self._text(text, base, executable, poke)
        write = poke_by(strategy, poke or place.poke, sync)
        passes = self.spec.passes if order is None else order
        for name in sorted(tables.keys() - set(passes)):
            raise PatchError(f"there is a table for {name}, which is none of the passes: {', '.join(passes)}")
        copy, sites = place.copy(), Extents()
        for name in passes:
            if name in tables:
                self._pass(name, *tables[name], copy, sites, state)
        pokes = 0
        for start, end in merged(in_order(sites)):
            write(start, copy.read(start, end - start))
            pokes += 1
        return pokes

    def _text(self, buffer: Buffer, base: int, executable: Sequence[tuple[int, int]], poke: Poke | None) -> Text:
        place = Text(buffer, base, executable, writable=poke is None)
        if base < 0 or place.end > 1 << self.spec.machine.bits:
            bits = self.spec.machine.bits
            raise PatchError(f"text from {base:#x} to {place.end:#x} is not in {bits}-bit addresses")
        return place

    # ---- an interface's table, by its columns

    def _plan(self, table: Table, address: int, place: Text) -> Plan:
        interface = self.spec.interface
        if interface is None or interface.layout is None:
            raise PatchError("the spec has no interface with a table of sites")
        columns = Columns(interface.layout, table, address)
        offsets = _offsets(columns, place, self.protected(interface.names))
        return Plan(columns, offsets, self._writers(columns, place))

    def _writers(self, columns: Columns, place: Text) -> Sequence[Writer]:
        """For each key how its sites are written; PatchError if one of them cannot be patched."""
        writers: list[Writer] = [(PACKS[0], b"", None)] * (max(columns.kinds, default=-1) + 1)
        singly: dict[int, list[Candidate]] = {}
        for key, (type, length) in columns.kinds.items():
            candidates = self.candidates(type, length)
            if len(candidates) == 1 and candidates[0][0] == 0 and candidates[0][4] is None:
                writers[key] = candidates[0][2], candidates[0][3], None
            elif (
                not candidates
                or candidates[-1][0]
                or not all(_reaches(candidate, place.base, place.end) for candidate in candidates)
            ):
                singly[key] = []
                writers[key] = PACKS[0], b"", (_NEVER, PACKS[0], b"", 0, b"", iter(singly[key]))
            else:
                writers[key] = PACKS[0], b"", _choice([_from_base(candidate, place.base) for candidate in candidates])
        if singly:
            for index, key in enumerate(columns.keys):
                if key in singly:
                    singly[key].append(_from_base(self._candidate_of(index, columns.site(index)), place.base))
        return writers

    def _candidate_of(self, index: int, site: PatchSite) -> Candidate:
        """The candidate that this one site takes, the record number `index`."""
        candidates = self.candidates(site.type, site.len)
        candidate = next((candidate for candidate in candidates if site.clobber & candidate[0] == candidate[0]), None)
        if candidate is not None and _reaches(candidate, site.addr):
            return candidate
        try:
            row = self.row(site.type, site.clobber, site.len)
            code = b"" if row is UNCHANGED else self.placed(row, site.addr)
        except PatchError as error:
            raise error.__class__(f"record {index}, site {site.addr:#x}: {error}") from None
        return 0, row.used, PACKS[len(code)], code, None, b""

    def _write(self, plan: Plan, place: Text) -> None:
        # The loop over all sites: four of five are written by the first pack, nearly all others by the second.
        buffer, writers = place.buffer, plan.writers
        for offset, key, clobber in zip(plan.offsets, plan.columns.keys, plan.columns.clobbers, strict=True):
            pack, code, choice = writers[key]
            if choice is None:
                pack(buffer, offset, code)
                continue
            needs, pack, head, value, tail, others = choice
            if clobber & needs == needs:
                pack(buffer, offset, head, value - offset, tail)
                continue
            for needs, _, pack, head, target, tail in others:
                if clobber & needs == needs:
                    if target is None:
                        pack(buffer, offset, head)
                    else:
                        pack(buffer, offset, head, target - offset, tail)
                    break

    # ---- passes, on a copy of the text

    def _pass(self, name: str, table: Table, address: int, copy: Text, sites: Extents, state: State | None) -> None:
        """Apply one pass to the copy, and add its sites."""
        interface = self.spec.interface
        if interface is not None and name == interface.name:
            plan = self._plan(table, address, copy)
            self._write(plan, copy)
            sites.extend(Extents(plan.columns.extents()))
        elif name in self.spec.families:
            family_sites = FamilySites(self, self.spec.families[name], copy, state)
            for _, start, size, _, code, *_ in self.outcomes_of(family_sites, table, address):
                if code is not None:
                    sites.add(start, size)
        else:
            raise PatchError(f"there is no family {name!r}")

    def outcomes_of(self, sites: FamilySites, table: Table, address: int) -> Iterator[Outcome]:
        """Write a family's sites, one record after the other, and tell what became of each; PatchError."""
        family, text, own = sites.family, sites.text, Extents()
        protected = self.protected(family.names)
        add_start, add_size = own.starts.append, own.sizes.append
        record: FamilySite | None = None  # the one whose site is being patched
        number = 0
        try:
            records = sites.records(table, address)
            for number, record in enumerate(() if sites.keeps_all else records):
                site = sites.site(record)
                if site is None:
                    continue
                outcome = sites.outcome(site, number)
                _, start, size, _, code, *_ = outcome
                if sites.named or code is not None:
                    text.check(start, size, _NO_PROTECTED if code is None else protected)
                    add_start(start)
                    add_size(size)
                if code is not None:
                    text.poke(start, code)
                yield outcome
            record = None
            _check_disjoint(own, family.stacked)
        except PatchError as error:
            place = "" if record is None else f"record {number}, site {record.get('site', 0) & self._mask:#x}: "
            raise error.__class__(f"{family.name}: {place}{error}") from None


def _from_base(candidate: Candidate, base: int) -> Candidate:
    needs, used, pack, head, value, tail = candidate
    return needs, used, pack, head, None if value is None else value - base, tail


def _choice(candidates: Sequence[Candidate]) -> Choice:
    needs, _, pack, head, value, tail = candidates[0]
    if value is None:
        return _NEVER, PACKS[0], b"", 0, b"", candidates
    return needs, pack, head, value, tail, candidates[1:]


def _reaches(candidate: Candidate, *addresses: int) -> bool:
    """Whether the candidate's rel32, if it has one, reaches its target from all of the addresses."""
    value = candidate[4]
    return value is None or all(-REL32_REACH <= value - address < REL32_REACH for address in addresses)


def _offsets(columns: Columns, place: Text, protected: Mapping[str, tuple[int, int]]) -> array[int]:
    """The sites' offsets in the text; PatchError if a site may not lie where it does, or two overlap."""
    end = 0
    offsets: array[int] = array(columns.typecode)
    in_order = columns.cells is not None and all(length for _, length in columns.kinds.values())
    for lanes in columns.lanes():
        before, (start, end) = end, lanes.extent()
        in_order = in_order and before <= start and lanes.apart()
        inside = in_order and place.contains(start, end, protected.values())
        if not inside and place.allowed(lanes, protected.values()) != lanes.grid.guards:
            break
        offsets.extend(lanes.offsets(place.base))
    for index in range(len(offsets), len(columns)):  # no lanes, or a site in them that `check` will name
        site = columns.site(index)
        try:
            place.check(site.addr, site.len, protected)
        except PatchError as error:
            raise PatchError(f"record {index}, site {site.addr:#x}: {error}") from None
        offsets.append(site.addr - place.base)
    if not in_order:
        _check_disjoint(columns.extents(), False)
    return offsets


def _check_disjoint(sites: Iterable[tuple[int, int]], stacked: bool) -> None:
    if isinstance(sites, Extents) and sites.ascend():
        return
    for (start, size), (other, _) in pairwise(in_order(sites)):
        if start == other and not stacked:
            raise PatchError(f"two records for site {start:#x}")
        if start < other < start + size:
            raise PatchError(f"site {start:#x} overlaps site {other:#x}")
