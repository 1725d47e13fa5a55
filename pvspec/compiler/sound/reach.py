"""Which arms of a chain can fire at all.

Length and clobber mask need no search: a site of exactly the arm's own length
and mask is best for reaching it, because most arms before it decline there.
What remains is whether the guards allow it; their answers are tried out, all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from math import prod
from operator import and_, or_
from typing import TypeAlias

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import is_own, rules, site_limit, too_long
from pvspec.engine.guards import (
    AllOf,
    AnyOf,
    Compares,
    Guard,
    Not,
    OpNoreturn,
    Question,
    TargetIs,
    VariableIs,
    evaluate,
    questions,
)
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings, Work

MAX_SETTINGS = 4096
"""Combinations of what the guards of one rule ask for which it is decided which arms can be taken; with more, all count
as reachable."""


def check_reach(program: Program, findings: Findings) -> None:
    """PV302 for each arm that can never fire."""
    spec = program.spec
    for chain in spec.chains.values():
        _report(chain, reachable(chain, program, None, findings.work), findings)
    for backend in spec.backends.values():
        for rom in backend.roms.values():
            for chain in rom.chains():
                _report(chain, reachable(chain, program, None, findings.work), findings)
        for rule in rules(backend):
            fired = {arm for op in kinds(rule) for arm in reachable(rule.chain, program, op, findings.work)}
            if rule.ops:
                fired |= too_long(rule.chain, site_limit(rule, spec.interface), program)
                _report(tuple(arm for arm in rule.chain if is_own(arm, rule)), fired, findings)
            elif rule is backend.otherwise:
                findings.add("PV302", "a rule for no op", (rule.span, "every op has a rule of its own"))
    for family in spec.families.values():
        _report(family.rule, reachable(family.rule, program, None, findings.work), findings)


def kinds(rule: model.Rule) -> Iterable[model.Op]:
    """One op of each kind that a rule answers: the same arms are reachable for all of them."""
    return {kind_of(op): op for op in rule.ops}.values()


def kind_of(op: model.Op) -> tuple[int | None, bool]:
    """What decides which arms are reachable for an op."""
    return op.length, op.noreturn


def _report(chain: model.Chain, fired: set[model.Arm], findings: Findings) -> None:
    for index, arm in enumerate(chain):
        if arm not in fired:
            before = [(other.span, "one before it always fires first") for other in chain[:index][-1:]]
            findings.add("PV302", "an arm that can never be reached", (arm.span, "never fires"), *before)


def reachable(chain: model.Chain, program: Program, op: model.Op | None, work: Work) -> set[model.Arm]:
    """The arms that fire for some site of the op (of any op, if None)."""
    needs = [_needs(arm, program) for arm in chain]
    work.add(2 * len(set(needs)) * len(chain), "which of its arms can be reached", chain[0].span if chain else None)
    held = _held(chain, None if op is None else op.noreturn)
    if held is None:
        return set(chain)
    return {
        arm
        for size, mask in dict.fromkeys(needs)
        if op is None or op.length is None or size <= op.length
        for arm in _firing(chain, held, (size, mask), needs, program, None if op is None else op.length)
    }


@lru_cache(maxsize=256)  # most ops have one chain
def _held(chain: model.Chain, noreturn: bool | None) -> Sequence[int] | None:
    """For each arm the settings of all that the guards ask in which its guard holds, a bit each; None if too many."""
    domains: dict[Question, set[Answer]] = {}
    for arm in chain:
        for asked, values in variables(arm.guard):
            domains.setdefault(asked, set()).update(values)
    if noreturn is not None and OpNoreturn() in domains:
        domains[OpNoreturn()] = {noreturn}
    ordered = {asked: sorted(values, key=repr) for asked, values in domains.items()}
    count = prod(map(len, ordered.values()))
    if count > MAX_SETTINGS:
        return None
    where = _places(ordered, count)
    return [_holding(arm.guard, where, (1 << count) - 1) for arm in chain]


def _places(domains: Mapping[Question, Sequence[Answer]], count: int) -> Places:
    places, period = {}, count
    for asked, values in domains.items():
        stride = period // len(values)
        every = ((1 << count) - 1) // ((1 << period) - 1)  # a bit at the start of each period
        places[asked] = {value: every * ((1 << stride) - 1 << stride * at) for at, value in enumerate(values)}
        period = stride
    return places


def _holding(guard: Guard | None, where: Places, every: int) -> int:
    """The settings in which a guard holds."""
    match guard:
        case None:
            return every
        case AnyOf(parts):
            return reduce(or_, (_holding(part, where, every) for part in parts), 0)
        case AllOf(parts):
            return reduce(and_, (_holding(part, where, every) for part in parts), every)
        case Not(part):
            return every & ~_holding(part, where, every)
    return where[variable(guard)].get(required_answer(guard), 0)


def _firing(
    chain: model.Chain,
    held: Sequence[int],
    needed: tuple[int, int],
    needs: Sequence[tuple[int, int]],
    program: Program,
    length: int | None,
) -> Iterator[model.Arm]:
    """The arms that need this length and mask and fire at a site of the mask, and of that length or the given one."""
    size, mask = needed if length is None else (length, needed[1])
    taken = 0
    for arm, need, setting in zip(chain, needs, held, strict=True):
        if need == needed and setting & ~taken:
            yield arm
        if _takes(arm, size, mask, program):
            taken |= setting


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

OTHER = "something else"
Answer: TypeAlias = bool | str | tuple[str | int | None, ...]
"""True or false; or a tuple of the value, among those that make a difference, or OTHER for all the rest."""


Places: TypeAlias = Mapping[Question, Mapping[Answer, int]]
"""For each answer to what is asked the settings that have it, a bit each."""


class Setting:
    """One combination of answers to the questions of some guards, as what answers them."""

    def __init__(self, answers: Mapping[Question, Answer]) -> None:
        self.answers = answers

    def answer(self, question: Question) -> bool:
        """The answer to one question."""
        return self.answers[variable(question)] == required_answer(question)


def variable(question: Question) -> Question:
    """The variable of a question: questions of which only one can be true share a variable."""
    match question:
        case TargetIs():
            return TargetIs(None)
        case Compares(value, "=="):
            return Compares(value, "==", 0)
        case VariableIs(name):
            return VariableIs(name, "")
    return question


def required_answer(question: Question) -> Answer:
    """The value that its variable must have for a question to be true."""
    match question:
        case TargetIs(symbol):
            return (symbol,)
        case Compares(_, "==", number):
            return (number,)
        case VariableIs(_, value):
            return (value,)
    return True


def variables(guard: Guard | None) -> Iterator[tuple[Question, set[Answer]]]:
    """The variables of a guard, each with the answers that make a difference."""
    for question in questions(guard):
        answer = required_answer(question)
        yield variable(question), {True, False} if answer is True else {answer, OTHER}


def holds(guard: Guard | None, setting: Setting) -> bool:
    """Whether a guard is true with these answers."""
    return guard is None or bool(evaluate(guard, setting))
