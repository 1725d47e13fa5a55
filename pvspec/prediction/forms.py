"""The legal codes of a site whose rule asks for what only the running kernel knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from pvspec.engine.decide import Condition, Decided
from pvspec.engine.errors import PatchError
from pvspec.engine.families import FamilySites
from pvspec.engine.guards import Question, Test, staged, values
from pvspec.engine.sites import FamilySite, branch_size
from pvspec.engine.spec import ELSEWHERE, Aim, Arm, Code, Family, Store
from pvspec.engine.value import Value


class Form(NamedTuple):
    """A code that a site may have: in hexadecimal, `??` for a byte that may be any, and the rule that gives it.

    `when`: how what is open of the machine is answered then, as a guard; empty where that does not matter.
    """

    code: str
    where: str
    when: str = ""

    def admits(self, code: bytes) -> bool:
        """Whether a site that holds this code has this form."""
        cells = self.code.split()
        return len(cells) == len(code) and all(
            cell in ("??", f"{byte:02x}") for cell, byte in zip(cells, code, strict=True)
        )


def open_reads(family: Family) -> frozenset[str]:
    """The values that a family's sites read of a running kernel."""
    return frozenset(name for name, read in family.reads.items() if read.size and not read.built)


class PartlyKnown(Value):
    """A kernel as what answers guards, of which some values are not known."""

    kernel: Decided
    unknown: frozenset[str]

    def answer(self, question: Question) -> Condition | None:
        """The kernel's answer to one question; None if it asks for something unknown."""
        return self.kernel.answer(question) if self.unknown.isdisjoint(values(question)) else None


class FamilyForms:
    """The forms of a family's sites while some values are unknown; what holds for all of them is worked out once."""

    def __init__(self, sites: FamilySites, unknown: frozenset[str]) -> None:
        self.sites = sites
        self.unknown = unknown
        known = PartlyKnown(sites.kernel, unknown)
        guards = {guard: number for number, guard in enumerate(dict.fromkeys(arm.guard for arm in sites.family.rule))}
        self._arms: list[tuple[Arm, int, bool | Test | None]] = [
            (arm, guards[arm.guard], True if arm.guard is None else staged(arm.guard, known))
            for arm in sites.family.rule
        ]

    def forms(self, site: FamilySite) -> list[Form]:
        """What a site may be, whatever the unknown values are; the arms are asked in their order.

        An arm that cannot be written here, because its target is out of reach or it stops all patching, gives no form.
        """
        found: list[Form] = []
        asked = set()  # after an arm that would win, another one with its guard never does
        for arm, guard, staged_verdict in self._arms:
            with suppress(PatchError):
                verdict = staged_verdict(site) if callable(staged_verdict) else staged_verdict
                if verdict is False or guard in asked or not self.sites.fits(arm, site):
                    continue
                asked.add(guard)
                found.append(Form(self._code(arm, site), arm.where))
                if verdict is True:
                    return found
        return [*found, Form(site.code.hex(" "), "")]

    def _code(self, arm: Arm, site: FamilySite) -> str:
        """The bytes of an arm's code at the site."""
        if isinstance(arm, Store) and arm.name in self.unknown:  # the value itself is stored
            return " ".join(["??"] * site.length)
        if isinstance(arm, Aim) and self._is_open(arm.name):
            end = branch_size(site.code)
            return _opened(site.code, [slice(end - 4, end)] if end else [])
        holes = [hole for hole in arm.holes if self._is_open(hole.symbol)] if isinstance(arm, Code) else []
        if not isinstance(arm, Code) or not holes:
            code = self.sites.code(arm, site)
            return (site.code if code is None else code).hex(" ")
        code = self.sites.kernel.padded(arm.data, site.length)
        return _opened(code, [slice(hole.offset, hole.offset + hole.size) for hole in holes])

    def _is_open(self, name: str) -> bool:
        return name in self.unknown or name == ELSEWHERE


def _opened(code: bytes, fields: Iterable[slice]) -> str:
    """Code of which these bytes may be any."""
    cells = code.hex(" ").split(" ")
    for field in fields:
        cells[field] = ["??"] * len(cells[field])
    return " ".join(cells)


class OtherForms:
    """A site's legal forms but for the predicted one, found when they are asked for.

    Always true: there may be other forms, even if none is listed.
    """

    __slots__ = ("_forms", "_predicted", "_site")

    def __init__(self, forms: FamilyForms, site: FamilySite, predicted: bytes) -> None:
        self._forms: FamilyForms | tuple[Form, ...] = forms
        self._site: FamilySite | None = site
        self._predicted = predicted

    def __iter__(self) -> Iterator[Form]:
        if isinstance(self._forms, tuple) or self._site is None:
            return iter(self._forms if isinstance(self._forms, tuple) else ())
        predicted = self._predicted.hex(" ")
        return (form for form in self._forms.forms(self._site) if form.code != predicted)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OtherForms) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"OtherForms({', '.join(form.code for form in self)})"

    def __reduce__(self) -> tuple[object, tuple[tuple[Form, ...]]]:
        """Pickled and copied as the forms themselves: what finds them is a whole kernel."""
        return _listed, (tuple(self),)


def _listed(forms: Iterable[Form]) -> OtherForms:
    found = OtherForms.__new__(OtherForms)
    found._forms, found._site, found._predicted = tuple(forms), None, b""
    return found
