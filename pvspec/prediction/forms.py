"""The legal forms of a site whose code follows what the kernel does as it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from pvspec.engine.binding import CODE
from pvspec.engine.spec import ELSEWHERE, PatchError

_VALUE_GUARDS = frozenset({"field", "compares", "bits", "is", "within", "begins"})


class Form(NamedTuple):
    """A code that a site may have: in hexadecimal, `??` for a byte that may be any, and the rule that gives it."""

    code: str
    where: str

    def admits(self, code: bytes) -> bool:
        """Whether a site that holds this code has this form."""
        cells = self.code.split()
        return len(cells) == len(code) and all(
            cell in ("??", f"{byte:02x}") for cell, byte in zip(cells, code, strict=True)
        )


def open_reads(family: Any) -> frozenset[str]:
    """The values that a family's sites read of a running kernel."""
    return frozenset(name for name, read in family.reads.items() if read.size)


def forms(sites: Any, site: Any, unknown: frozenset[str], refused: type[Exception] = PatchError) -> list[Form]:
    """What a site may be, whatever the unknown values are; the arms are asked in their order.

    An arm that cannot be written here, for its target is out of reach or it stops all patching, gives no form:
    `refused` is what says so, a generated module has its own.
    """
    found: list[Form] = []
    asked = set()  # behind an arm that would win, another one with its guard never does
    for arm in sites.family.rule:
        with suppress(refused):
            verdict = True if arm.guard is None else _verdict(sites.kernel, arm.guard, site, unknown)
            if verdict is False or arm.guard in asked or not sites.fits(arm, site):
                continue
            asked.add(arm.guard)
            found.append(Form(_code(sites, arm, site, unknown), arm.where))
            if verdict is True:
                return found
    return [*found, Form(_as_it_was(site), "")]


class OtherForms:
    """A site's legal forms but for the predicted one, found when they are asked for.

    True, since a site that reads what nobody knows may have another one.
    """

    def __init__(
        self,
        sites: Any,
        site: Any,
        unknown: frozenset[str],
        predicted: bytes,
        refused: type[Exception] = PatchError,
    ) -> None:
        self._asked = sites, site, unknown, refused
        self._predicted = predicted.hex(" ")

    def __iter__(self) -> Iterator[Form]:
        return (form for form in forms(*self._asked) if form.code != self._predicted)


def _as_it_was(site: Any) -> str:
    code: bytes = site[CODE]
    return code.hex(" ")


def _verdict(kernel: Any, guard: tuple[Any, ...], site: Any, unknown: frozenset[str]) -> bool | None:
    """Whether a guard holds; None if that depends on something unknown."""
    kind, *parts = guard
    if kind in ("any", "all"):
        verdicts = [_verdict(kernel, part, site, unknown) for part in parts]
        decisive = kind == "any"
        return decisive if decisive in verdicts else None if None in verdicts else not decisive
    if kind == "not":
        verdict = _verdict(kernel, parts[0], site, unknown)
        return None if verdict is None else not verdict
    if kind in _VALUE_GUARDS and parts[0] in unknown:
        return None
    return bool(kernel.holds(guard, site))


def _code(sites: Any, arm: Any, site: Any, unknown: frozenset[str]) -> str:
    """The bytes of an arm's code at the site."""
    if getattr(arm, "name", None) in unknown:  # the value itself is stored
        return " ".join(["??"] * site.length)
    holes = [hole for hole in getattr(arm, "holes", ()) if hole.symbol in unknown or hole.symbol == ELSEWHERE]
    if not holes:
        given: bytes | None = sites.code(arm, site)
        return _as_it_was(site) if given is None else given.hex(" ")
    whole: bytes = sites.kernel.padded(arm.data, site.length)
    cells = whole.hex(" ").split(" ")
    for hole in holes:
        cells[hole.offset : hole.offset + hole.size] = ["??"] * hole.size
    return " ".join(cells)
