"""Guards by themselves: of three answers, what is staged, and the one walk."""

from __future__ import annotations

from itertools import product

import pytest

from pvspec.engine.guards import (
    AllOf,
    AnyOf,
    Guard,
    KernelHas,
    Not,
    Question,
    Test,
    both,
    evaluate,
    questions,
    staged,
    walk,
)
from pvspec.engine.site import Site

YES, NO, OPEN, ASKS, LACKS = (KernelHas(name) for name in ("yes", "no", "open", "asks", "lacks"))
LEAVES: tuple[Guard, ...] = (YES, NO, OPEN, ASKS, LACKS)


class Answers:
    """Answers by the symbol's name: as the facts have it, or as a site's field says, which may not say it."""

    def answer(self, question: Question) -> bool | Test | None:
        assert isinstance(question, KernelHas)
        if question == ASKS:
            return lambda site: bool(site["value"])
        if question == LACKS:
            return lambda site: None
        return {YES: True, NO: False, OPEN: None}[question]


def at(guard: Guard, value: int) -> bool | None:
    """What a guard comes to at a site with this value."""
    verdict = staged(guard, Answers())
    return verdict(Site({"value": value})) if callable(verdict) else verdict


def expected(guard: Guard, value: int) -> bool | None:
    """By Kleene's logic, part for part."""
    match guard:
        case Not(part):
            found = expected(part, value)
            return None if found is None else not found
        case AnyOf(parts) | AllOf(parts):
            decisive = isinstance(guard, AnyOf)
            found_all = [expected(part, value) for part in parts]
            return decisive if decisive in found_all else None if None in found_all else not decisive
    verdict = Answers().answer(guard)
    return verdict(Site({"value": value})) if callable(verdict) else verdict


def guards() -> list[Guard]:
    """All leaves, all pairs and triples of them, negated, and one in the other."""
    joined: list[Guard] = [
        kind(parts) for kind in (AnyOf, AllOf) for n in (0, 1, 2, 3) for parts in product(LEAVES, repeat=n)
    ]
    pairs: list[Guard] = [kind(parts) for kind in (AnyOf, AllOf) for parts in product(LEAVES, repeat=2)]
    nested: list[Guard] = [kind((leaf, pair)) for kind in (AnyOf, AllOf) for leaf in LEAVES for pair in pairs]
    return [*LEAVES, *joined, *nested, *(Not(guard) for guard in (*LEAVES, *pairs, *nested))]


def test_three_answers() -> None:
    for guard in guards():
        assert [at(guard, value) for value in (0, 1)] == [expected(guard, value) for value in (0, 1)], guard


def test_what_the_facts_decide_is_not_put_to_sites() -> None:
    for guard in (AnyOf((ASKS, YES)), AllOf((NO, LACKS)), Not(AllOf((ASKS, NO)))):
        assert isinstance(staged(guard, Answers()), bool)


@pytest.mark.parametrize(("guard", "found"), [(YES, True), (NO, False), (OPEN, None), (ASKS, None), (Not(ASKS), None)])
def test_evaluated(guard: Guard, found: bool | None) -> None:
    assert evaluate(guard, Answers()) is found


def test_the_walk_is_from_the_outside_in() -> None:
    inner = Not(AllOf((YES, NO)))
    guard = AnyOf((inner, ASKS))
    assert list(walk(guard)) == [guard, inner, inner.part, YES, NO, ASKS]
    assert list(questions(guard)) == [YES, NO, ASKS]
    assert list(walk(None)) == list(questions(None)) == []


def test_both() -> None:
    assert both(YES, NO) == AllOf((YES, NO))
    assert (both(YES, None), both(None, NO), both(None, None)) == (YES, NO, None)
