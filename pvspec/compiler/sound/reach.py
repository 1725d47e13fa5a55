"""Which arms of a chain can fire at all.

Length and clobber mask need no search: an arm is best reached at a site of
exactly its own length and mask, where the most of the arms before it decline.
What is left is whether the guards allow it, and those are tried out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import is_own, rules, site_limit, too_long
from pvspec.engine.spec import Guard
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings

MAX_SETTINGS = 4096  # beyond, an arm counts as reachable


def check_reach(program: Program, findings: Findings) -> None:
    """PV302 for each arm that can never fire."""
    spec = program.spec
    for chain in spec.chains.values():
        _report(chain, reachable(chain, program, None), findings)
    for backend in spec.backends.values():
        for rom in backend.roms.values():
            for chain in rom.chains():
                _report(chain, reachable(chain, program, None), findings)
        for rule in rules(backend):
            fired = {arm for op in rule.ops for arm in reachable(rule.chain, program, op)}
            if rule.ops:
                fired |= too_long(rule.chain, site_limit(rule, spec.interface), program)
                _report(tuple(arm for arm in rule.chain if is_own(arm, rule)), fired, findings)
            elif rule is backend.otherwise:
                findings.add("PV302", "a rule for no op", (rule.span, "every op has a rule of its own"))
    for family in spec.families.values():
        _report(family.rule, reachable(family.rule, program, None), findings)


def _report(chain: model.Chain, fired: set[model.Arm], findings: Findings) -> None:
    for index, arm in enumerate(chain):
        if arm not in fired:
            before = [(other.span, "one before it always fires first") for other in chain[:index][-1:]]
            findings.add("PV302", "an arm that can never be reached", (arm.span, "never fires"), *before)


def reachable(chain: model.Chain, program: Program, op: model.Op | None) -> set[model.Arm]:
    """The arms that fire for some site of the op (of any op, if None)."""
    settings = _settings([arm.guard for arm in chain], op)
    if settings is None:
        return set(chain)
    return {arm for index, arm in enumerate(chain) if _fires(index, chain, program, op, settings)}


def _fires(
    index: int, chain: model.Chain, program: Program, op: model.Op | None, settings: list[dict[Guard, Any]]
) -> bool:
    arm = chain[index]
    size, mask = _needs(arm, program)
    if op is not None and op.length is not None:
        if size > op.length:
            return False
        size = op.length
    before = [other for other in chain[:index] if _takes(other, size, mask, program)]
    return any(
        holds(arm.guard, setting) and not any(holds(other.guard, setting) for other in before) for setting in settings
    )


def _needs(arm: model.Arm, program: Program) -> tuple[int, int]:
    code = program.code.get(arm)
    return (len(code.data), arm.mask) if code is not None else (0, 0)


def _takes(arm: model.Arm, size: int, mask: int, program: Program) -> bool:
    """Whether an arm whose guard holds never declines a site of this length and mask."""
    if isinstance(arm.action, model.Query) or (arm.emits and arm not in program.code):
        return False
    needed, clobbered = _needs(arm, program)
    return needed <= size and not clobbered & ~mask


# ---- guards, by trial ------------------------------------------------------


def _settings(guards: list[Guard | None], op: model.Op | None) -> list[dict[Guard, Any]] | None:
    """Every setting of what the guards ask; None if there are too many."""
    domains: dict[Guard, set[Any]] = {}
    for guard in guards:
        for variable, values in questions(guard):
            domains.setdefault(variable, set()).update(values)
    if op is not None and ("noreturn",) in domains:
        domains["noreturn",] = {op.noreturn}
    count = 1
    for values in domains.values():
        count *= len(values)
    if count > MAX_SETTINGS:
        return None
    ordered = [sorted(values, key=repr) for values in domains.values()]
    return [dict(zip(domains, setting, strict=True)) for setting in itertools.product(*ordered)]


OTHER = "something else"


def questions(guard: Guard | None) -> Iterator[tuple[Guard, set[Any]]]:
    """What a guard asks, each question with the answers that make a difference."""
    match guard:
        case None:
            return
        case ("any" | "all" | "not", *parts):
            for part in parts:
                yield from questions(part)
        case ("target" as what, value):
            yield (what,), {(value,), OTHER}
        case ("compares", name, "==", value):
            yield ("compares", name, "=="), {(value,), OTHER}
        case ("answer", rom, argument, value):
            yield ("answer", rom, argument), {(value,), OTHER}
        case _:
            yield guard, {True, False}


def holds(guard: Guard | None, setting: Mapping[Guard, Any]) -> bool:
    """Whether a guard is true where these are the answers."""
    match guard:
        case None:
            return True
        case ("any", *parts):
            return any(holds(part, setting) for part in parts)
        case ("all", *parts):
            return all(holds(part, setting) for part in parts)
        case ("not", part):
            return not holds(part, setting)
        case ("target" as what, value):
            return bool(setting[what,] == (value,))
        case ("compares", name, "==", value):
            return bool(setting["compares", name, "=="] == (value,))
        case ("answer", rom, argument, value):
            return bool(setting["answer", rom, argument] == (value,))
    return bool(setting[guard])
