"""Whether two kernels of one image patch by the same rules."""

from __future__ import annotations

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchError
from pvspec.engine.guards import FactQuestion, Guard, TargetIs, questions
from pvspec.engine.spec import Code, Family


def rules_alike(one: Kernel, other: Kernel, family: Family) -> bool:
    """Whether two kernels decide a family's records alike, but for features that a record names."""
    return (
        one.nops == other.nops
        and all(arm.guard is None or _guards_alike(one, other, arm.guard) for arm in family.rule)
        and (not _asks_targets(family) or _targets(one) == _targets(other))
    )


def _guards_alike(one: Kernel, other: Kernel, guard: Guard) -> bool:
    """Whether a guard comes to the same in both; what it asks of each site is the same anyhow."""
    first, second = one.condition(guard), other.condition(guard)
    if isinstance(first, bool) or isinstance(second, bool):
        return first == second
    facts = (question for question in questions(guard) if isinstance(question, FactQuestion))
    return all(_said(one, question) == _said(other, question) for question in facts)


def _said(kernel: Kernel, question: FactQuestion) -> bool | None:
    """What a kernel answers, None where it cannot."""
    answer = kernel.answer(question)
    return answer if isinstance(answer, bool) else None


def _asks_targets(family: Family) -> bool:
    asked = (question for arm in family.rule for question in questions(arm.guard))
    holes = (hole for arm in family.rule if isinstance(arm, Code) for hole in arm.holes)
    return any(isinstance(question, TargetIs) for question in asked) or any(hole.symbol == "target" for hole in holes)


def _targets(kernel: Kernel) -> list[int | None]:
    """The functions that the ops call, by number, up to the last one; None where it is not known."""
    numbers = kernel.spec.interface.numbers.values() if kernel.spec.interface is not None else ()
    last = max((number for setting in numbers for number in setting), default=-1)
    return [_target(kernel, number) for number in range(last + 1)]


def _target(kernel: Kernel, number: int) -> int | None:
    try:
        return kernel.target(number)
    except PatchError:
        return None
