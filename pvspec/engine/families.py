"""The sites of a family: what becomes of each record's, by the family's rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple, TypeAlias, assert_never

from pvspec.engine.errors import PatchBug, PatchError
from pvspec.engine.guards import Test
from pvspec.engine.instructions import instruction_length
from pvspec.engine.patch import REL32_REACH, Patcher
from pvspec.engine.records import records_as, require_fields
from pvspec.engine.relocation import all_relaid, ones_relaid, relocated, relocated_throughout, wrapped
from pvspec.engine.sites import NO_BRANCH, FamilySite, SiteContext, State, branch_size
from pvspec.engine.spec import ELSEWHERE, Aim, Arm, Bug, Code, Copy, Family, Keep, Query, Store
from pvspec.engine.text import Text

SiteWriter: TypeAlias = Callable[[FamilySite], bytes | None]
"""The code that an arm writes over a site; None: the site stays as it is."""


class Outcome(NamedTuple):
    """What becomes of one record's site: the arm that decided (None: all declined), the code (None: it stays).

    `record` counts from 0, by the records that are not padding.
    """

    record: int
    address: int
    length: int
    arm: Arm | None
    code: bytes | None
    before: bytes
    site: FamilySite


class FamilySites:
    """A family's sites in one text, and how a kernel patches them."""

    def __init__(self, kernel: Patcher, family: Family, text: Text, state: State | None = None) -> None:
        self.kernel = kernel
        self.family = family
        self.text = text
        self.context = SiteContext(kernel, family, text, state or text.read)
        self.bits, self.mask = self.context.bits, self.context.mask
        self._writers: dict[int, SiteWriter] = {}  # by the arm's identity
        self._own = self.context.fields | _NO_FIELDS
        self._chain = list(self._open_arms())
        self._branches = [name for name, read in family.reads.items() if not read.size]
        #: Whether a table says where sites lie. Where memory or a symbol leads to may be anywhere.
        self.named = not family.layout.patterns and family.place[0] not in family.reads and not self._branches
        #: Whether no site can change, whatever it is: its records are not looked at.
        self.keeps_all = not family.relaid and all(isinstance(arm, Keep) for arm, *_ in self._chain)

    def records(self, table: bytes | memoryview, address: int) -> Iterator[FamilySite]:
        """The records of the family's table; PatchError if it is cut short, or lacks a field."""
        family = self.family
        place, needs_len = family.place[0], family.length is None and not family.decoded
        require_fields(family.layout, *([] if place in family.reads else [place]), *(["len"] if needs_len else []))
        records = records_as(FamilySite, family.layout, table, address)
        return _with_longest(records) if family.longest else records

    def site(self, record: FamilySite) -> FamilySite | None:
        """The site of a record, None if it has none: there is no branch to read, or the site's pointer is null.

        PatchError: it is outside the text.
        """
        site, family = record, self.family
        site.context, site.unreadable = self.context, _NOTHING
        place, offset = family.place
        address = site[place]
        if not address and place in family.reads:
            return None
        site["site"] = address + offset & self.mask
        for name in self._branches:
            if site[name] == NO_BRANCH:
                return None
        site.length = family.length or self._length(site)
        site.code = self.context.code(site)
        return site

    def _length(self, site: FamilySite) -> int:
        """A site's length in bytes, where the family does not say it."""
        if not self.family.decoded:
            return site["len"]
        size = instruction_length(self.text.up_to(site["site"], 15), 0, self.bits)
        if not size:
            raise PatchError("there is no instruction")
        return size

    def outcome(self, site: FamilySite, record: int = 0) -> Outcome:
        """What becomes of a site, which is not written; PatchError if it cannot be patched."""
        decided: Arm | None = None
        code = None
        for arm, test, size, write in self._chain:
            if size <= site.length and (test is None or test(site)):
                decided, code = arm, write(site)
                break
        if self.family.relaid:
            old = site.code
            new = self._relaid(old if code is None else code)
            code = new if code is not None or new != old else None
        return Outcome(record, site["site"], site.length, decided, code, site.code, site)

    def fits(self, arm: Arm, site: FamilySite) -> bool:
        """Whether what an arm writes is no longer than the site."""
        return _needs(arm) <= site.length

    def code(self, arm: Arm, site: FamilySite) -> bytes | None:
        """The code that an arm writes over a site, all of it; None if the site stays. PatchError if it cannot."""
        return self._writer(arm)(site)

    def _open_arms(self) -> Iterator[tuple[Arm, Test | None, int, SiteWriter]]:
        """The arms that may decide a site, up to one that decides every site that comes to it.

        Each with the test to put to the site (None: it always holds), the bytes that it needs, and its writer.
        """
        for arm in self.family.rule:
            condition = True if arm.guard is None else self.kernel.condition(arm.guard)
            if condition is not False:
                yield arm, None if condition is True else condition, _needs(arm), self._writer(arm)
            if condition is True and _needs(arm) <= (self.family.length or 0):
                return

    # ---- what an arm writes

    def _writer(self, arm: Arm) -> SiteWriter:
        writer = self._writers.get(id(arm))
        if writer is None:
            writer = self._writers[id(arm)] = self._new_writer(arm)
        return writer

    def _new_writer(self, arm: Arm) -> SiteWriter:
        match arm:
            case Code():
                return self._emitting(arm)
            case Copy():
                return lambda site: self._filled(self._copied(arm, site), site.length)
            case Aim():
                return lambda site: self._aimed(arm, site)
            case Store():
                return lambda site: (site[arm.name] & (1 << 8 * arm.size) - 1).to_bytes(arm.size, "little")
            case Bug():
                return lambda site: _stop(arm)
            case Keep():
                return lambda site: None
            case Query():
                raise PatchError(f"{arm.where}: a family has no rom to ask")
        assert_never(arm)

    def _emitting(self, arm: Code) -> SiteWriter:
        emitters: dict[int, SiteWriter] = {}  # by the site's length

        def emit(site: FamilySite) -> bytes | None:
            emitter = emitters.get(site.length)
            if emitter is None:
                emitter = emitters[site.length] = self._emitter(arm, site)
            return emitter(site)

        return emit

    def _emitter(self, arm: Code, site: FamilySite) -> SiteWriter:
        """What writes the code of sites of this one's length; quick where they differ in one rel32 at most."""
        kernel, length = self.kernel, site.length
        row = kernel.filled(arm, length, site)
        own = {hole.symbol for hole in arm.holes} & self._own
        quick = len(row.relative) == 1 and row.relative[0][1] == 4
        if own and not (quick and len(arm.holes) == 1 and not own & _NO_FIELDS):
            return lambda site: kernel.placed(kernel.filled(arm, length, site), site["site"])
        if not quick:
            return lambda site: kernel.placed(row, site["site"]) if row.relative else row.code
        ((at, size, value),) = row.relative
        head, tail, name = row.code[:at], row.code[at + size :], next(iter(own), None)
        start = value if name is None else value - site[name]

        def emit(site: FamilySite) -> bytes:
            distance = start - site["site"] if name is None else start + site[name] - site["site"]
            if -REL32_REACH <= distance < REL32_REACH:
                return head + distance.to_bytes(4, "little", signed=True) + tail
            return kernel.placed(kernel.filled(arm, length, site), site["site"])

        return emit

    def _filled(self, code: bytes, length: int) -> bytes:
        """Code filled up to the site's length, with nops that may be laid anew afterwards."""
        if self.family.relaid:
            return code.ljust(length, self.kernel.nops[0])
        return self.kernel.padded(code, length)

    def _relaid(self, code: bytes) -> bytes:
        lay = all_relaid if self.family.throughout else ones_relaid
        return lay(code, lambda size: self.kernel.padded(b"", size), self.bits)

    def _aimed(self, arm: Aim, site: FamilySite) -> bytes:
        """The site with its rel32 changed: the branch is all that it is known to hold."""
        size = branch_size(site.code)
        if not size:
            raise PatchError(f"{arm.where}: the site holds no call or jump with 32 bits")
        target = site[arm.name] if arm.name in site else self.kernel.symbol(arm.name)
        distance = wrapped(target - site["site"] - size, self.bits, True)
        if not -REL32_REACH <= distance < REL32_REACH:
            raise PatchError(f"{arm.where}: the target is out of reach from {site['site']:#x}")
        return site.code[: size - 4] + distance.to_bytes(4, "little", signed=True) + site.code[size:]

    def _copied(self, arm: Copy, site: FamilySite) -> bytes:
        address = site[arm.address] if arm.address in site else self.kernel.symbol(arm.address)
        size = arm.size if isinstance(arm.size, int) else site[arm.size]
        source, to = address & self.mask, site["site"]
        if size > site.length:
            raise PatchBug(f"{arm.where}: a replacement of {size} bytes for a site of {site.length}")
        code = self.text.read(source, size)
        if arm.throughout:
            return relocated_throughout(code, source, to, self.bits)
        if arm.relocated:
            return self.kernel.padded(relocated(code, source, to, self.bits), size)
        return code


_NOTHING: frozenset[str] = frozenset()
_NO_FIELDS = frozenset(("target", ELSEWHERE))  # what holes may name that is no value of the site


def _needs(arm: Arm) -> int:
    """The bytes that an arm needs."""
    return len(arm.data) if isinstance(arm, Code) else arm.size if isinstance(arm, Store) else 0


def _stop(bug: Bug) -> bytes | None:
    raise PatchBug(f"{bug.where}: {bug.message}")


def _with_longest(records: Iterable[FamilySite]) -> Iterator[FamilySite]:
    """The records, each with the length of the longest of those for its site that follow each other."""
    for _, group in groupby(records, key=lambda record: record["site"]):
        members = list(group)
        longest = max(record["len"] for record in members)
        for record in members:
            record["len"] = longest
            yield record
