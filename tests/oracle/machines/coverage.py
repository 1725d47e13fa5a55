"""`python -m tests.oracle coverage`: what of a spec machines made at random come to, and what none of them does.

Of each guard of a decision and each question in it: was it answered both ways; of each arm: does it win a site; of each
parameter's values: was it on a command line; and by which machine first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

from pvspec.engine import decide
from pvspec.engine.decide import Decided
from pvspec.engine.guards import CpuHas, FactQuestion, Guard, Question, questions, staged
from pvspec.engine.spec import Arm, Spec
from pvspec.engine.value import Value
from pvspec.prediction import PredictionError
from pvspec.prediction.bind import Bound
from pvspec.prediction.passes import run_passes

from . import chance
from .bench import LATER, Bench, open_bench
from .command import packages
from .described import described
from .trial import Trial
from .words import VALUES

_SHOWN = 12  # of what was never met, unless all is wanted


@dataclass
class Met:
    """What was met, and by which machine first: answers to guards and questions, arms that won, words."""

    answers: dict[tuple[Guard, bool], str] = field(default_factory=dict)
    arms: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    def lacking(self, guard: Guard) -> str:
        """How a guard, or a question, was never answered; empty if it was answered both ways."""
        had = [answer for answer in (True, False) if (guard, answer) in self.answers]
        return {0: "never asked", 1: f"always {str(had[:1] == [True]).lower()}", 2: ""}[len(had)]


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle coverage", description=__doc__)
    parser.add_argument("--n", type=int, default=60, metavar="N", help="machines for each kernel (default: 60)")
    parser.add_argument("--seed", default="0", help="another seed makes other machines (default: 0)")
    parser.add_argument("--kernel", default="", metavar="NAME", help="as for `machines`")
    parser.add_argument("--all", action="store_true", help=f"list all that was not met, not the first {_SHOWN}")
    options = parser.parse_args(arguments)
    for name, package in packages(options.kernel):
        bench, met = open_bench(package), Met()
        lived = sum(_try(bench, met, options.seed, number) for number in range(options.n))
        print(f"{name}: {lived} of {options.n} machines lived")
        print("\n".join(report(bench, met, None if options.all else _SHOWN)))
    return 0


def _try(bench: Bench, met: Met, seed: str, number: int) -> bool:
    """Predict a machine from all facts while it is watched which answers are given; False if it died."""
    trial, machine = chance.trial(bench.subject, seed, number), f"{seed}.{number}"
    seen = bench.observe(trial)
    if seen.died:
        return False
    with watched(met, machine):
        try:
            note(met, machine, trial, bench.bind(described(bench.subject, bench.whole, trial, seen, "facts")))
        except PredictionError:
            return True
    return True


def note(met: Met, machine: str, trial: Trial, bound: Bound) -> None:
    """Keep which arms win on a machine, and which words are on its command line; PredictionError."""
    for word in trial.words:
        met.words.setdefault(word, machine)
    for where in {site.where for site in run_passes(bound).sites}:
        met.arms.setdefault(where, machine)


@contextmanager
def watched(met: Met, machine: str) -> Iterator[None]:
    """While this lasts, each answer that a kernel's facts give is kept."""
    answer = Decided.answer

    def answered(kernel: Decided, question: Question) -> decide.Condition:
        found = answer(kernel, question)
        if isinstance(found, bool):
            met.answers.setdefault((question, found), machine)
        return found

    def tested(guard: Guard, facts: Decided) -> object:
        found = staged(guard, facts)
        if isinstance(found, bool):
            met.answers.setdefault((guard, found), machine)
        return found

    with mock.patch.object(Decided, "answer", answered), mock.patch.object(decide, "staged", tested):
        yield


# ---- what there is to meet


def guarded(spec: Spec) -> Iterator[tuple[str, Guard]]:
    """The guards of a spec's decisions, each with its place, and with what it decides."""
    names = {number: name for name, number in spec.machine.features.items()}
    for step, guard in _steps(spec.policy):
        decided = ", ".join(names.get(number, str(number)) for number in getattr(step, "features", ()))
        said = (getattr(step, "where", ""), decided or getattr(step, "name", ""), type(step).__name__)
        yield " ".join(part for part in said if part), guard


def _steps(values: object) -> Iterator[tuple[Value, Guard]]:
    """All values that have a guard, however deep they lie, and their guards."""
    if isinstance(values, tuple):
        for value in values:
            yield from _steps(value)
    elif isinstance(values, Value):
        guard = getattr(values, "guard", None)
        if guard is not None:
            yield values, guard
        yield from _steps(tuple(value for value in values.__dict__.values() if isinstance(value, tuple)))


def asked(spec: Spec) -> Iterator[tuple[str, FactQuestion]]:
    """What decisions ask of the facts."""
    names = {number: name for name, number in spec.machine.features.items()}
    parts = dict.fromkeys(part for _, guard in guarded(spec) for part in questions(guard))
    for part in parts:
        if isinstance(part, CpuHas):
            yield f"cpu has {names.get(part.feature, part.feature)}", part
        elif isinstance(part, FactQuestion):
            yield str(part), part


def arms(spec: Spec) -> Iterator[Arm]:
    """The arms of all tables that are compared, and of those who answer ops."""
    for name, family in spec.families.items():
        if name not in LATER:
            yield from family.rule
    for backend in spec.backends.values():
        for chain in (*backend.rules.values(), backend.otherwise):
            yield from chain


def report(bench: Bench, met: Met, most: int | None) -> Iterator[str]:
    """Lines: how much of each kind was met, and what was not: `most` of each, None: all."""
    wheres = dict.fromkeys(arm.where for arm in arms(bench.spec))
    values = [f"{name}={value}" if value else name for name, values in VALUES.items() for value in values]
    parts: Mapping[str, Sequence[tuple[str, str]]] = {
        "decisions, both ways": [(place, met.lacking(guard)) for place, guard in guarded(bench.spec)],
        "questions, both ways": [(said, met.lacking(question)) for said, question in asked(bench.spec)],
        "arms that win": [(where, "" if where in met.arms else "never") for where in wheres],
        "values of parameters": [(value, "" if value in met.words else "never") for value in values],
    }
    for what, found in parts.items():
        left = [f"    {place}: {lacking}" for place, lacking in found if lacking]
        yield f"  {what}: {len(found) - len(left)} of {len(found)}"
        yield from left[:most]
