"""What a kernel decides about itself: the steps of a policy, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import assert_never

from pvspec.engine.command_line import ReadLine
from pvspec.engine.facts import Facts
from pvspec.engine.guards import CpuHas, Guard
from pvspec.engine.spec import Assign, Conditional, Decide, Decision, Let, Listed, OpenFact, Steps


class Decisions:
    """What a kernel has decided so far.

    `features`: the numbers of those that it decides by. `variables`: their values by name. `named`: which conditions
    held, by their names. `opened`: the features that a step left open, with the first such step. Of these nothing
    answers for the `unsettled` ones, and no later step decided them; they are clear, or set if that is likely.
    `turned`: those of them on which it turned whether some step was done.
    """

    def __init__(self, facts: Facts, line: ReadLine) -> None:
        told = {feature for feature, holds in facts.assumed.items() if holds}
        denied = facts.assumed.keys() - told
        self.facts = facts
        self.listed: Mapping[str, str] = line.listed
        self.features = (facts.spec.machine.always | facts.features | told) - denied
        self.variables: dict[str, str | int] = dict(line.values)
        self.named: dict[str, bool] = {}
        self.opened: dict[int, OpenFact] = {}
        self.unsettled: set[int] = set()
        self.turned: set[int] = set()

    def run(self, policy: Iterable[Decide], holds: Callable[[Guard], bool]) -> None:
        """Do all steps; `holds` answers their guards by these decisions, as they are at that moment."""
        for decide in policy:
            for step in decide.steps:
                self._do(step, holds)

    def _do(self, step: Steps, holds: Callable[[Guard], bool]) -> None:
        match step:
            case Conditional(_, guard, then, otherwise):
                for inner in then if holds(guard) else otherwise:
                    self._do(inner, holds)
            case Let(_, name, guard):
                self.named[name] = holds(guard)
            case Decision(_, sets, features, guard, unless_told):
                if guard is None or holds(guard):
                    told = self.facts.assumed.keys() if unless_told else frozenset[int]()
                    self._decide(sets, frozenset(features) - told)
            case Listed(_, sets, numbers, word):
                self._decide(sets, frozenset(self._features_listed(word, numbers)))
            case Assign(_, variable, value, guard):
                if guard is None or holds(guard):
                    self.variables[variable] = value
            case OpenFact(_, features, _, _, guard):
                if guard is None or holds(guard):
                    self._open(step, features)
            case _:
                assert_never(step)

    def _decide(self, sets: bool, features: frozenset[int]) -> None:
        self.features = self.features | features if sets else self.features - features
        self.unsettled -= features

    def _open(self, step: OpenFact, features: Iterable[int]) -> None:
        """What is there is not open, and what the user told is as he told, whatever was decided before."""
        for feature in features:
            if self.facts.assumed.get(feature):
                self.features |= {feature}
            elif feature not in self.features and feature not in self.facts.assumed:
                self.opened.setdefault(feature, step)
                answer = self.facts.answers.get(CpuHas(feature))
                if answer is None:
                    self.unsettled.add(feature)
                if answer or (answer is None and step.likely):
                    self.features |= {feature}

    def _features_listed(self, word: str, numbers: bool) -> Iterator[int]:
        """The features that the command line lists for a word."""
        shown = self.facts.spec.machine.shown
        names = self.listed.get(word, "").split(",")
        if numbers:
            names = list(takewhile(str.isdecimal, names))
        yield from (shown[name] for name in names if name in shown)
        yield from (int(name) for name in names if name.isdecimal())
