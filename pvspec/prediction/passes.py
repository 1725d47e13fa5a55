"""All passes of a kernel, and what each made of each site."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pvspec.engine.errors import PatchError
from pvspec.engine.families import FamilySites
from pvspec.engine.patch import Patcher
from pvspec.engine.records import parse_sites
from pvspec.engine.spec import ELSEWHERE, Code, Family
from pvspec.engine.text import Text
from pvspec.kernel import ImageError
from pvspec.kernel.work import Work
from pvspec.prediction.bind import Bound
from pvspec.prediction.family_sites import LenientSites, PassedOver
from pvspec.prediction.forms import FamilyForms, Form, OtherForms, open_reads
from pvspec.prediction.machine import PredictionError
from pvspec.prediction.other_texts import OtherSite, OtherTexts
from pvspec.prediction.unsettled import Unsettled, condition, unsettled
from pvspec.prediction.watched_sites import WatchedPassedOver, WatchedSites, WatchedText, Watching


class Site(NamedTuple):
    """What one record of a table made of its site: code before and after, the rule's place in the spec (empty: stays).

    `record` counts from 0, by the table's records that are not padding. `others` are the site's other legal forms,
    where its code follows what the kernel does as it runs, or what is open of the machine, and nothing tells.
    """

    table: str
    record: int
    address: int
    length: int
    before: bytes
    after: bytes
    where: str
    others: OtherForms | tuple[Form, ...] = ()


@dataclass(frozen=True, repr=False)
class Prediction:
    """A kernel's memory after all passes, its text's addresses [start, end), and the sites pass by pass.

    `open`: what nothing tells of the machine, though bytes of the text hang on it; they are predicted as is likeliest.
    `work` is what all of it asked for.
    """

    bound: Bound
    memory: bytearray
    start: int
    end: int
    sites: list[Site]
    open: tuple[Unsettled, ...]
    work: Work

    def __repr__(self) -> str:
        image = self.bound.image
        where = f"text {self.start:#x} to {self.end:#x}"
        return f"Prediction({image.release} on {image.machine}, {where}, {len(self.sites)} sites)"

    @property
    def text(self) -> memoryview:
        """The predicted text."""
        base = self.bound.image.base
        return memoryview(self.memory)[self.start - base : self.end - base]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may be amiss in what is said of the machine."""
        return self.bound.warnings

    @cached_property
    def features(self) -> frozenset[str]:
        """The names of the CPU features that the kernel decided by; what the spec alone calls a feature is left out."""
        known, kernel = self.bound.spec.machine.features.items(), self.bound.kernel
        return frozenset(name for name, number in known if number >= 0 and number in kernel.features)

    def inside(self) -> Iterator[Site]:
        """The sites in the text that stays; init text, which is freed, is left out."""
        return (site for site in self.sites if self.start <= site.address < self.end)

    def at(self, address: int) -> list[Site]:
        """The sites that cover an address, in the order of the passes; each has all its forms."""
        return [site for site in self.sites if site.address <= address < site.address + site.length]

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """By table: records, sites in the text, changed ones, and those with several legal forms (dynamic)."""
        inside = list(self.inside())
        numbers = (
            Counter(site.table for site in inside),
            Counter(site.table for site in inside if site.after != site.before),
            Counter(site.table for site in inside if site.others),
        )
        bound = self.bound
        return {
            name: {
                "records": bound.records(name) if name in bound.tables else 0,
                **{what: number[name] for what, number in zip(("sites", "changed", "dynamic"), numbers, strict=True)},
            }
            for name in bound.spec.passes
        }


def run_passes(bound: Bound, *, every_site: bool = False) -> Prediction:
    """Apply all passes to a copy of the image's memory; PredictionError, also if two tables' sites overlap.

    Unchanged sites of tables that memory or symbols lead to are left out, unless `every_site` is wanted.
    """
    memory = bytearray(bound.image.memory)
    text, work = Text(memory, bound.image.base, bound.image.executable), bound.work.continued()
    texts = OtherTexts(bound.worlds, text, work)
    sites: list[Site] = []
    spans: dict[str, tuple[int, int]] = {}
    try:
        for name in bound.spec.passes:
            if name in bound.tables:
                family, before = bound.spec.families.get(name), len(sites)
                sites += (
                    _interface_pass(bound, text, texts)
                    if family is None
                    else _family_pass(bound, family, text, texts, every_site)
                )
                spans[name] = before, len(sites)
    except (PatchError, ImageError) as error:
        raise PredictionError(f"{bound.image.name}: {error}") from None
    _check_nested(bound, sites)
    add_forms(sites, spans, bound, texts, text)
    start, end = text_of(bound)
    found = unsettled(bound.spec, bound.worlds, texts, range(start, end))
    return Prediction(bound, memory, start, end, sites, tuple(found), work)


def _check_nested(bound: Bound, sites: list[Site]) -> None:
    """PredictionError if two passes changed sites of which neither lies in the other.

    A lock prefix, a return or a thunk's call may lie in an alternative, and one site may be in many tables: whichever
    comes last knows what it finds. Half a site is no table's to write.
    """
    # as numbers, by address, the longest first: a tenth of the time that tuples take
    changed = sorted(
        site.address << 64 | (_LONGEST - site.length) << 32 | number
        for number, site in enumerate(sites)
        if site.after != site.before
    )
    around: list[Site] = []  # innermost last
    for key in changed:
        site = sites[key & 0xFFFFFFFF]
        while around and around[-1].address + around[-1].length <= site.address:
            around.pop()
        if around and site.address + site.length > around[-1].address + around[-1].length:
            outer = around[-1]
            raise PredictionError(
                f"{bound.image.name}: site {outer.address:#x} of {outer.table} ({outer.length} bytes) overlaps site "
                f"{site.address:#x} of {site.table} ({site.length} bytes)"
            )
        around.append(site)


_LONGEST = 0xFFFFFFFF  # bytes, of a site


def text_of(bound: Bound) -> tuple[int, int]:
    """The addresses [start, end) of the text that stays, for a module of all of it; PredictionError."""
    image = bound.image
    if image.kind == "module":
        return image.base, image.end
    try:
        start, end = (image.symbols.address(name) for name in ("_text", "_etext"))
    except ImageError as error:
        raise PredictionError(str(error)) from None
    if start is None or end is None or not image.base <= start <= end <= image.end:
        raise PredictionError(f"{image.name}: has no symbols _text and _etext; give its System.map with --symbols")
    return start, end


def _interface_pass(bound: Bound, text: Text, texts: OtherTexts) -> Iterator[Site]:
    kernel, image, interface = bound.kernel, bound.image, bound.spec.interface
    assert interface is not None
    assert interface.layout is not None
    table, address = bound.tables[interface.name]
    records = parse_sites(interface.layout, table, address)
    before = [text.up_to(site, length) for site, _, length, _ in records]
    kernel.apply(table, text.buffer, image.base, table_address=address, executable=image.executable)
    texts.interface(interface.name, records, before)
    where = _Rules(kernel)
    for number, (old, (site, type_, length, clobber)) in enumerate(zip(before, records, strict=True)):
        rule = where[type_, length, clobber]
        yield Site(interface.name, number, site, length, old, text.read(site, length), rule)


class _Rules(dict[tuple[int, int, int], str]):
    """The place of the rule that decides the sites of a type, length and clobber mask."""

    def __init__(self, kernel: Patcher) -> None:
        super().__init__()
        self._kernel = kernel

    def __missing__(self, kind: tuple[int, int, int]) -> str:
        type_, length, clobber = kind
        where = self[kind] = self._kernel.row(type_, clobber, length).where
        return where


def _family_pass(bound: Bound, family: Family, text: Text, texts: OtherTexts, every_site: bool) -> Iterator[Site]:
    name = family.name
    unknown = open_reads(family) if bound.dump is None else frozenset[str]()
    sites = _sites(bound, family, text, texts, unknown, every_site)
    forms: dict[frozenset[str], FamilyForms] = {}
    for number, address, length, arm, code, before, site in bound.kernel.outcomes_of(sites, *bound.tables[name]):
        after, lost, others = code or before, unknown or site.unreadable, None
        if lost:
            of = forms.get(lost)
            if of is None:
                of = forms[lost] = FamilyForms(sites, lost)
            others = OtherForms(of, site, after)
        yield Site(name, number, address, length, before, after, "" if arm is None else arm.where, others or ())


def _sites(
    bound: Bound, family: Family, text: Text, texts: OtherTexts, unknown: frozenset[str], every_site: bool
) -> FamilySites:
    """The sites of a family, watched if other worlds may make something else of them."""
    if texts.may_differ(family):
        text = WatchedText(text, texts)
        watched: Watching = WatchedSites(bound.kernel, family, text, bound.state)
        if watched.keeps_all and watched.named:
            watched = WatchedPassedOver(bound.kernel, family, text, bound.state)
        watched.watch(texts, unknown)
        sites: FamilySites = watched
    else:
        kind = LenientSites if family.reads or _leads_elsewhere(family) else FamilySites
        sites = kind(bound.kernel, family, text, bound.state)
        if sites.keeps_all and sites.named:
            sites = PassedOver(bound.kernel, family, text, bound.state)
    sites.keeps_all = sites.keeps_all and not every_site and not isinstance(sites, PassedOver)
    return sites


def _leads_elsewhere(family: Family) -> bool:
    """Whether an arm branches to where only the running kernel knows."""
    return any(hole.symbol == ELSEWHERE for arm in family.rule if isinstance(arm, Code) for hole in arm.holes)


def add_forms(
    sites: list[Site], spans: Mapping[str, tuple[int, int]], bound: Bound, texts: OtherTexts, text: Text
) -> None:
    """Give the sites the forms that they have in other worlds; a site that only other worlds have is added."""
    found: dict[str, dict[int, list[OtherSite]]] = {}  # by table and record
    for other in texts.sites:
        if not texts.worlds[other.world].failed:
            found.setdefault(other.table, {}).setdefault(other.record, []).append(other)
    when = [condition(bound.spec, bound.worlds, other.world) for other in texts.worlds]
    for table in reversed(found):  # what is added shifts later tables
        first, last = spans[table]
        at = {sites[index].record: index for index in range(first, last)}
        for record, others in sorted(found[table].items(), reverse=True):
            _, _, _, address, length, *_ = others[0]
            held = text.up_to(address, length)
            predicted = held.hex(" ")
            site = sites[at[record]] if record in at else None
            forms = {form.code: form for form in (site.others if site is not None else ())}
            for other in others:
                for world in texts.including(other.world):
                    final = texts.worlds[world].text.up_to(other.address, other.length)
                    for form, where in other.legal(final):
                        if form != predicted and form not in forms:
                            forms[form] = Form(form, where, when[world])
            if site is not None and forms:
                sites[at[record]] = site._replace(others=tuple(forms.values()))
            elif forms:
                added = Site(table, record, address, length, held, held, "", tuple(forms.values()))
                sites.insert(bisect_left(sites, record, first, last, key=_record), added)


def _record(site: Site) -> int:
    return site.record
