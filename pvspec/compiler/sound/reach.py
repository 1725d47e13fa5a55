"""Which arms of a chain can fire at all.

Length and clobber mask need no search: a site of exactly the arm's own length
and mask is best for reaching it, because most arms before it decline there.
What remains is whether the guards allow it; their answers are tried out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from math import prod
from operator import and_
from typing import TypeAlias

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import is_own, rules, site_limit, too_long
from pvspec.engine.guards import Compares, Guard, OpNoreturn, Question, TargetIs, evaluate, questions
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings

MAX_SETTINGS = 4096
"""Combinations of what the guards of one rule ask for which it is decided which arms can be taken; with more, all count
as reachable."""


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
    held = _held(chain, None if op is None else op.noreturn)
    if held is None:
        return set(chain)
    return {arm for index, arm in enumerate(chain) if _fires(index, chain, program, op, held)}


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
    return [_holding(arm.guard, ordered, where, (1 << count) - 1) for arm in chain]


def _places(domains: Mapping[Question, Sequence[Answer]], count: int) -> Places:
    places, period = {}, count
    for asked, values in domains.items():
        stride = period // len(values)
        every = ((1 << count) - 1) // ((1 << period) - 1)  # a bit at the start of each period
        places[asked] = {value: every * ((1 << stride) - 1 << stride * at) for at, value in enumerate(values)}
        period = stride
    return places


def _holding(guard: Guard | None, domains: Mapping[Question, Sequence[Answer]], where: Places, every: int) -> int:
    """The settings in which a guard holds: it is tried with each setting of what it asks itself."""
    own = list(dict.fromkeys(asked for asked, _ in variables(guard)))
    found = 0
    for answers in itertools.product(*(domains[asked] for asked in own)):
        setting = dict(zip(own, answers, strict=True))
        if holds(guard, Setting(setting)):
            found |= reduce(and_, (where[asked][answer] for asked, answer in setting.items()), every)
    return found


def _fires(index: int, chain: model.Chain, program: Program, op: model.Op | None, held: Sequence[int]) -> bool:
    arm = chain[index]
    size, mask = _needs(arm, program)
    if op is not None and op.length is not None:
        if size > op.length:
            return False
        size = op.length
    taken = 0
    for other, setting in zip(chain[:index], held, strict=False):
        if _takes(other, size, mask, program):
            taken |= setting
    return bool(held[index] & ~taken)


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
    return question


def required_answer(question: Question) -> Answer:
    """The value that its variable must have for a question to be true."""
    match question:
        case TargetIs(symbol):
            return (symbol,)
        case Compares(_, "==", number):
            return (number,)
    return True


def variables(guard: Guard | None) -> Iterator[tuple[Question, set[Answer]]]:
    """The variables of a guard, each with the answers that make a difference."""
    for question in questions(guard):
        answer = required_answer(question)
        yield variable(question), {True, False} if answer is True else {answer, OTHER}


def holds(guard: Guard | None, setting: Setting) -> bool:
    """Whether a guard is true with these answers."""
    return guard is None or bool(evaluate(guard, setting))
