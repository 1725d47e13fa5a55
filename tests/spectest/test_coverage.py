"""The shipped specs' own tests notice whatever is taken out of a rule.

Each arm, each guard, each target and each target's guard of each backend and family is left out in turn; some case of
that backend or family must then have another outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.engine.spec import Arm, Backend, Chain, Keep, Spec
from pvspec.lang import model
from pvspec.spectest import run_cases
from pvspec.support.paths import resource

SPECS = resource("specs")
NEVER_CALLED = "a case cannot say what memory holds that only the running kernel knows"
ITSELF = {"returns: `jmp __x86_return_thunk`": "a return site jumps there already; static calls and trampolines do not"}
#: What no case can notice, by folder, kernel and machine of each spec, and why.
EXCEPTIONS: dict[tuple[str, str | None, str | None], dict[str, str]] = {
    ("linux-2.6.23/i386", None, None): {},
    ("linux", "5.10", "i386"): {},
    ("linux", "5.10", "x86_64"): ITSELF,
    ("linux", "6.1", "i386"): {},
    ("linux", "6.1", "x86_64"): ITSELF,
    ("linux", "6.12", "x86_64"): {
        'possible_call_pads: `keep when not site begins "90 90 90 90 90 90 90 90 90"`': NEVER_CALLED,
        'possible_call_pads: guard of `keep when not site begins "90 90 90 90 90 90 90 90 90"`': NEVER_CALLED,
        "possible_call_pads: `copy skl_call_thunk_template 9 relocated throughout when cpu has CALL_DEPTH and called`":
            NEVER_CALLED,
        **ITSELF,
    },
}  # fmt: skip


class Mutant(NamedTuple):
    """A spec without one thing: whose it is, what it is, and the changed spec."""

    owner: str
    what: str
    spec: Spec


@cache
def compiled(folder: str, kernel: str | None, machine: str | None) -> tuple[model.Spec, Spec]:
    program = check_spec(SPECS / folder, kernel=kernel, machine=machine).sound()
    return program.spec, lower(program).spec


def changes(chains: Iterable[Chain]) -> Iterator[tuple[str, Callable[[Chain], Chain]]]:
    """For each place in the spec what takes its arms out of a chain, and what takes their guards away.

    Several arms share a place where `each` or a chain with a name stands. A last `keep` without a guard is no place:
    an unwritten one stands behind it.
    """
    places: dict[str, list[Arm]] = {}
    for chain in chains:
        written = chain[:-1] if chain and isinstance(chain[-1], Keep) and chain[-1].guard is None else chain
        for arm in written:
            places.setdefault(arm.where, []).append(arm)
    for place, arms in places.items():
        yield f"`{place}`", partial(without_arms, place)
        if any(arm.guard is not None for arm in arms):
            yield f"guard of `{place}`", partial(without_guards, place)


def without_arms(place: str, chain: Chain) -> Chain:
    return tuple(arm for arm in chain if arm.where != place)


def without_guards(place: str, chain: Chain) -> Chain:
    return tuple(arm.changed(guard=None) if arm.where == place else arm for arm in chain)


def mutants(spec: Spec) -> Iterator[Mutant]:
    for name, family in spec.families.items():
        for what, change in changes([family.rule]):
            families = {**spec.families, name: family.changed(rule=change(family.rule))}
            yield Mutant(name, f"{name}: {what}", spec.changed(families=families))
    for name, backend in spec.backends.items():
        for what, changed in [*other_rules(backend), *other_targets(backend)]:
            yield Mutant(name, what, spec.changed(backends={**spec.backends, name: changed}))


def other_rules(backend: Backend) -> Iterator[tuple[str, Backend]]:
    answers = [chain for rom in backend.roms.values() for chain in (*rom.chains.values(), rom.otherwise)]
    for what, change in changes([*backend.rules.values(), backend.otherwise, *answers]):
        roms = {
            name: rom.changed(
                chains={number: change(chain) for number, chain in rom.chains.items()},
                otherwise=change(rom.otherwise),
            )
            for name, rom in backend.roms.items()
        }
        rules = {op: change(chain) for op, chain in backend.rules.items()}
        yield what, backend.changed(rules=rules, otherwise=change(backend.otherwise), roms=roms)


def other_targets(backend: Backend) -> Iterator[tuple[str, Backend]]:
    for index, target in enumerate(backend.targets):
        before, after = backend.targets[:index], backend.targets[index + 1 :]
        what = f"target {target.ops[0]} = {target.symbol}"
        yield f"{backend.name}: {what}", backend.changed(targets=(*before, *after))
        if target.guard is not None:
            always = (*before, target.changed(guard=None), *after)
            yield f"{backend.name}: guard of {what}", backend.changed(targets=always)


def cases_of(spec: model.Spec, name: str) -> model.Spec:
    return spec.changed(tests=tuple(test for test in spec.tests if test.name.text == name))


def survivors(spec: model.Spec, lowered: Spec) -> set[str]:
    """What may be left out, and no case notices. Backends share chains: it is enough that one of them does."""
    left: dict[str, list[bool]] = {}
    for mutant in mutants(lowered):
        results = run_cases(cases_of(spec, mutant.owner), mutant.spec)
        left.setdefault(mutant.what, []).append(all(result.passed for result in results))
    return {what for what, unnoticed in left.items() if all(unnoticed)}


def readable(what: str, path: Path) -> str:
    """With the spec's line in place of its number, which moves."""
    head, _, place = what.partition("`")
    if not place:
        return what
    file, _, number = place.rstrip("`").partition(":")
    line = (path / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    return f"{head}`{' '.join(line.split('#')[0].split())}`"


@pytest.mark.parametrize(("folder", "kernel", "machine"), EXCEPTIONS)
def test_the_tests_notice_what_is_left_out(folder: str, kernel: str | None, machine: str | None) -> None:
    left = {readable(what, SPECS / folder) for what in survivors(*compiled(folder, kernel, machine))}
    assert left == set(EXCEPTIONS[folder, kernel, machine])


@pytest.mark.parametrize(("folder", "kernel", "machine"), EXCEPTIONS)
def test_every_backend_and_family_has_a_case(folder: str, kernel: str | None, machine: str | None) -> None:
    spec, _ = compiled(folder, kernel, machine)
    tested = {test.name.text for test in spec.tests if test.cases}
    assert tested == {*spec.backends, *spec.families}
