"""The order of passes: what an earlier one writes, a later one must still recognise.

Different tables may or may not list the same sites; a spec does not say. A table that two families share does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from pvspec.engine.guards import AllOf, AnyOf, Branches, Guard
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings, Work


def check_order(spec: model.Spec, findings: Findings) -> None:
    """PV307 for each family that may find its sites destroyed by a family before it over the same table."""
    together: dict[object, list[model.Family]] = {}
    for family in (spec.families[name] for name in spec.passes if name in spec.families):
        together.setdefault(_place(family), []).append(family)
    for first, later in (pair for families in together.values() for pair in combinations(families, 2)):
        findings.work.add(_PAIR, "its families over one table", later.span)
        for arm, wanted in _recognised(later):
            findings.work.add(_PAIR * len(first.rule), "its families over one table", later.span)
            writer = _destroyer(first, wanted)
            if writer is not None:
                findings.add(
                    "PV307",
                    f"`{first.name}` destroys what `{later.name}` must recognise",
                    (arm.span, f"looks for a branch to `{wanted.to}`"),
                    (writer.span, "an earlier pass over the same table has written this"),
                    help=f"put `{later.name}` before `{first.name}` in `passes`",
                )


def unknown_overlaps(spec: model.Spec, work: Work) -> Iterator[tuple[str, str]]:
    """Pairs of passes (earlier, later) over different tables, the later of which recognises its sites by a branch.

    It is assumed that no site is in both tables.
    """
    places = {name: _place(family) for name, family in spec.families.items()}
    recognising = [
        (at, name) for at, name in enumerate(spec.passes) if name in places and any(_recognised(spec.families[name]))
    ]
    for number, first in enumerate(spec.passes):
        work.add(_PAIR * len(recognising), "its passes over different tables")
        for at, later in recognising:
            if at > number and places.get(first) != places[later]:
                yield first, later


def _place(family: model.Family) -> object:
    return family.layout.bounds or family.layout.section


def _recognised(family: model.Family) -> Iterator[tuple[model.Arm, Branches]]:
    for arm in family.rule:
        if not isinstance(arm.action, model.Keep):
            yield from ((arm, branch) for branch in required(arm.guard))


def required(guard: Guard | None) -> Iterator[Branches]:
    """The branches one of which must be at a site for a guard to be true."""
    match guard:
        case Branches():
            yield guard
        case AllOf(parts):
            for part in parts:
                yield from required(part)
        case AnyOf(parts):
            found = [list(required(part)) for part in parts]
            if all(found):
                yield from (branch for branches in found for branch in branches)


def _destroyer(first: model.Family, wanted: Branches) -> model.Arm | None:
    """The first arm that may overwrite a site that holds the branch with something else."""
    for arm in first.rule:
        others = list(required(arm.guard))
        if others and wanted not in others:
            continue
        if isinstance(arm.action, model.Keep | model.Bug):
            if arm.guard is None:
                return None
            continue
        if isinstance(arm.action, model.Branch) and _aim(arm.action) == wanted:
            continue
        return arm
    return None


def _aim(action: model.Branch) -> Branches | None:
    """The branch at a site after this arm wrote it; None if it is not one that a guard could test."""
    if action.short or action.addend:
        return None
    return Branches(action.prefixed, {"call": 0xE8, "jmp": 0xE9}[action.mnemonic], action.symbol)


_PAIR = 3  # units of work that two families cost, for each arm of the first
