"""The order of passes: what an earlier one writes, a later one must still recognise.

Different tables may or may not list the same sites; a spec does not say. A table that two families share does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from pvspec.engine.guards import AllOf, AnyOf, Branches, Guard
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings


def check_order(spec: model.Spec, findings: Findings) -> None:
    """PV307 for each family that may find its sites destroyed by a family before it over the same table."""
    ordered = [spec.families[name] for name in spec.passes if name in spec.families]
    for first, later in combinations(ordered, 2):
        if _place(first) != _place(later):
            continue
        for arm, wanted in _recognised(later):
            writer = _destroyer(first, wanted)
            if writer is not None:
                findings.add(
                    "PV307",
                    f"`{first.name}` destroys what `{later.name}` must recognise",
                    (arm.span, f"looks for a branch to `{wanted.to}`"),
                    (writer.span, "an earlier pass over the same table has written this"),
                    help=f"put `{later.name}` before `{first.name}` in `passes`",
                )


def unknown_overlaps(spec: model.Spec) -> Iterator[tuple[str, str]]:
    """Pairs of passes (earlier, later) over different tables, the later of which recognises its sites by a branch.

    It is assumed that no site is in both tables.
    """
    for first, later in combinations(spec.passes, 2):
        family, other = spec.families.get(later), spec.families.get(first)
        if family is not None and any(_recognised(family)) and (other is None or _place(other) != _place(family)):
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
