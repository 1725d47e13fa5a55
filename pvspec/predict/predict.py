"""All passes of a kernel, and what each made of each site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from pvspec.engine.spec import ELSEWHERE
from pvspec.kernel import ImageError
from pvspec.predict.bind import Bound, PatchingError
from pvspec.predict.forms import OtherForms, open_reads


class Site(NamedTuple):
    """What one record made of its site: code before and after, the rule's place in the spec (empty: it stays).

    `record` counts from 0, by the table's records that are not padding. `others` are the site's other legal forms,
    where its code follows what the kernel does as it runs and nothing says what that is.
    """

    family: str
    record: int
    address: int
    length: int
    before: bytes
    after: bytes
    where: str
    others: OtherForms | tuple[()] = ()


@dataclass(frozen=True)
class Prediction:
    """A kernel's memory after all passes, its text's addresses [start, end), and the sites pass by pass."""

    bound: Bound
    memory: bytearray
    start: int
    end: int
    sites: list[Site]

    @property
    def text(self) -> memoryview:
        """The predicted text."""
        base = self.bound.image.base
        return memoryview(self.memory)[self.start - base : self.end - base]

    def inside(self) -> Iterator[Site]:
        """The sites in the text that stays; init text, which is freed, is left out."""
        return (site for site in self.sites if self.start <= site.address < self.end)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """By pass: records, sites in the text, changed ones, and those with other legal forms (open)."""
        inside = list(self.inside())
        numbers = (
            Counter(site.family for site in inside),
            Counter(site.family for site in inside if site.after != site.before),
            Counter(site.family for site in inside if site.others),
        )
        bound = self.bound
        return {
            name: {
                "records": bound.records(name) if name in bound.tables else 0,
                **{what: number[name] for what, number in zip(("sites", "changed", "open"), numbers, strict=True)},
            }
            for name in bound.module.SPEC.passes
        }


def predict(bound: Bound, *, whole: bool = False) -> Prediction:
    """Apply all passes to a copy of the image's memory; PatchingError, also if two tables' sites overlap.

    Sites that memory leads to have no place here if none of them can change, unless the `whole` story is wanted.
    """
    memory = bytearray(bound.image.memory)
    sites: list[Site] = []
    try:
        for name in bound.module.SPEC.passes:
            if name in bound.tables:
                is_family = name in bound.module.SPEC.families
                sites += _family_pass(bound, name, memory, whole) if is_family else _interface_pass(bound, name, memory)
    except bound.module.PatchError as error:
        raise PatchingError(f"{bound.image.name}: {error}") from None
    _check_nested(bound, sites)
    return Prediction(bound, memory, *text_of(bound), sites)


def _check_nested(bound: Bound, sites: list[Site]) -> None:
    """PatchingError if two passes changed sites of which neither lies in the other.

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
            raise PatchingError(
                f"{bound.image.name}: site {outer.address:#x} of {outer.family} ({outer.length} bytes) overlaps site "
                f"{site.address:#x} of {site.family} ({site.length} bytes)"
            )
        around.append(site)


_LONGEST = 0xFFFFFFFF  # bytes, of a site


def text_of(bound: Bound) -> tuple[int, int]:
    """The addresses [start, end) of the text that stays, for a module of all of it; PatchingError."""
    image = bound.image
    if image.kind == "module":
        return image.base, image.end
    try:
        start, end = (image.symbols.address(name) for name in ("_text", "_etext"))
    except ImageError as error:
        raise PatchingError(str(error)) from None
    if start is None or end is None or not image.base <= start <= end <= image.end:
        raise PatchingError(f"{image.name}: has no symbols _text and _etext; give its System.map with --symbols")
    return start, end


def _interface_pass(bound: Bound, name: str, memory: bytearray) -> Iterator[Site]:
    kernel, image, module = bound.kernel, bound.image, bound.module
    table, address = bound.tables[name]
    records = list(module.parse_sites(table, address))
    text = module.Text(memory, image.base, image.executable)
    before = [text.up_to(site, length) for site, _, length, _ in records]
    kernel.apply(table, memory, image.base, table_address=address, executable=image.executable)
    where = _RuleOf(kernel)
    for number, (old, (site, type_, length, clobber)) in enumerate(zip(before, records, strict=True)):
        yield Site(name, number, site, length, old, text.read(site, length), where[type_, length, clobber])


class _RuleOf(dict[tuple[int, int, int], str]):
    """Where the rule stands that decides the sites of a type, length and clobber mask."""

    def __init__(self, kernel: Any) -> None:
        super().__init__()
        self._kernel = kernel

    def __missing__(self, kind: tuple[int, int, int]) -> str:
        type_, length, clobber = kind
        where = self[kind] = str(self._kernel.row(type_, clobber, length).where)
        return where


def _family_pass(bound: Bound, name: str, memory: bytearray, whole: bool) -> Iterator[Site]:
    module, image = bound.module, bound.image
    family = module.SPEC.families[name]
    text = module.Text(memory, image.base, image.executable)
    kind = _lenient(module) if family.reads or _leads_elsewhere(family) else module.FamilySites
    sites = kind(bound.kernel, family, text, bound.state)
    sites.idle = sites.idle and not sites.named and not whole
    unknown = _unknown(bound, family)
    for number, address, length, arm, code, before, site in bound.kernel.outcomes_of(sites, *bound.tables[name]):
        after, lost = code or before, unknown or site.lost
        others = OtherForms(sites, site, lost, after, module.PatchError) if lost else ()
        yield Site(name, number, address, length, before, after, "" if arm is None else arm.where, others)


def _leads_elsewhere(family: Any) -> bool:
    """Whether an arm branches to where nobody but the running kernel knows."""
    return any(hole.symbol == ELSEWHERE for arm in family.rule for hole in getattr(arm, "holes", ()))


def _unknown(bound: Bound, family: Any) -> frozenset[str]:
    """What a family reads of the running kernel, unless a dump tells."""
    return open_reads(family) if bound.dump is None else frozenset()


def _lenient(module: Any) -> Any:
    """The sites of a family; one that reads memory of which nothing is known stays as it is, with all its forms."""

    class LenientSites(module.FamilySites):  # type: ignore[misc]
        def outcome(self, site: Any, record: int = 0) -> Any:
            try:
                return super().outcome(site, record)
            except module.StateError:
                site.lost = open_reads(self.family) | {ELSEWHERE}
                before = self.text.up_to(site["site"], site.length)
                return module.Outcome(record, site["site"], site.length, None, None, before, site)

    return LenientSites
