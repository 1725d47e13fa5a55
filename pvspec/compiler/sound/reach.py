"""Which arms of a chain can fire at all.

Length and clobber mask need no search: a site of exactly the arm's own length
and mask is best for reaching it, because most arms before it decline there.
What remains is whether the guards allow it; their answers are tried out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import is_own, rules, site_limit, too_long
from pvspec.engine.guards import Compares, Guard, OpNoreturn, Question, TargetIs, evaluate, questions
from pvspec.engine.value import Value
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


def _fires(index: int, chain: model.Chain, program: Program, op: model.Op | None, settings: list[Setting]) -> bool:
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

OTHER = "something else"
Answer: TypeAlias = bool | str | tuple[str | int | None, ...]
"""True or false; or a tuple of the value, among those that make a difference, or OTHER for all the rest."""


class Setting(Value):
    """One combination of answers to the questions of some guards."""

    answers: Mapping[Question, Answer]

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


def _settings(guards: list[Guard | None], op: model.Op | None) -> list[Setting] | None:
    """Every combination of answers to the guards' questions; None if there are too many."""
    domains: dict[Question, set[Answer]] = {}
    for guard in guards:
        for asked, values in variables(guard):
            domains.setdefault(asked, set()).update(values)
    if op is not None and OpNoreturn() in domains:
        domains[OpNoreturn()] = {op.noreturn}
    count = 1
    for values in domains.values():
        count *= len(values)
    if count > MAX_SETTINGS:
        return None
    ordered = [sorted(values, key=repr) for values in domains.values()]
    return [Setting(dict(zip(domains, setting, strict=True))) for setting in itertools.product(*ordered)]


def holds(guard: Guard | None, setting: Setting) -> bool:
    """Whether a guard is true with these answers."""
    return guard is None or bool(evaluate(guard, setting))
