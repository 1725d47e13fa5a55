"""The legal forms of a site whose code follows what the kernel does as it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_VALUE_GUARDS = frozenset({"field", "compares", "bits", "is", "within"})


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


def forms(sites: Any, site: Any, unknown: frozenset[str]) -> list[Form]:
    """What a site may be, whatever the unknown values are; the arms are asked in their order."""
    found: list[Form] = []
    asked = set()  # behind an arm that would win, another one with its guard never does
    for arm in sites.family.rule:
        verdict = True if arm.guard is None else _verdict(sites.kernel, arm.guard, site, unknown)
        if verdict is False or arm.guard in asked or not sites.fits(arm, site):
            continue
        asked.add(arm.guard)
        found.append(Form(" ".join(_cells(sites, arm, site, unknown)), arm.where))
        if verdict is True:
            return found
    return [*found, Form(sites.text.read(site["site"], site.length).hex(" "), "")]


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


def _cells(sites: Any, arm: Any, site: Any, unknown: frozenset[str]) -> Iterator[str]:
    """The bytes of an arm's code at the site."""
    open_holes = [hole for hole in getattr(arm, "holes", ()) if hole.symbol in unknown or hole.symbol == "elsewhere"]
    if getattr(arm, "name", None) in unknown:  # the value itself is stored
        code, wild = bytes(site.length), set(range(site.length))
    elif open_holes:
        code = sites.kernel.padded(arm.data, site.length)
        wild = {hole.offset + index for hole in open_holes for index in range(hole.size)}
    else:
        given = sites.code(arm, site)
        code, wild = sites.text.read(site["site"], site.length) if given is None else given, set()
    for index, byte in enumerate(code):
        yield "??" if index in wild else f"{byte:02x}"
