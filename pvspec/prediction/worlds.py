"""The worlds that a machine may be: one for each way to answer what nothing tells, as far as it matters to the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TypeAlias

from pvspec.engine.apply import Kernel
from pvspec.engine.decide import COMPARE, Unanswered
from pvspec.engine.errors import BindError
from pvspec.engine.facts import Facts
from pvspec.engine.guards import (
    CpuHas,
    CpuHasField,
    CpuNumber,
    Cpus,
    FactQuestion,
    Guard,
    OpenQuestion,
    questions,
)
from pvspec.engine.records import parse_records
from pvspec.engine.spec import Chain, Spec
from pvspec.engine.value import Map, Value
from pvspec.kernel.work import Work
from pvspec.prediction.machine import PredictionError

MAX_WORLDS = 64
"""Ways to answer what nothing tells of a machine, as far as its kernel asks; if there are more, the prediction is
refused: some have to be told."""
_RUN_WORK, _RECORD_WORK = 30_000, 15  # units: to decide once more, to look at a record's feature

Answers: TypeAlias = Map[OpenQuestion, bool]
Tables: TypeAlias = Mapping[str, tuple[bytes, int]]


class World(Value):
    """What a kernel decides by some answers; several ways to answer may come to the same.

    `kernel` is None where it cannot decide: `failed` says why. `decided`: what matters of that and is otherwise than
    predicted. `loose`: features on which no decision turns, and which may be otherwise, as some are already: `turned`.
    """

    kernel: Kernel | None
    answers: tuple[Answers, ...]
    failed: str = ""
    decided: frozenset[object] = frozenset()
    turned: frozenset[int] = frozenset()
    loose: frozenset[int] = frozenset()

    def turn(self, features: frozenset[int]) -> World:
        """The world in which some of the loose features are otherwise."""
        assert self.kernel is not None, "a world that cannot be has no loose features"
        otherwise: dict[OpenQuestion, bool] = {
            CpuHas(feature): not self.answers[0][CpuHas(feature)] for feature in features
        }
        facts = self.kernel.facts
        kernel = Kernel(facts.changed(answers={**facts.answers, **otherwise}))
        answers = tuple(Map({**answers, **otherwise}) for answers in self.answers)
        return World(kernel, answers, "", self.decided | features, features, self.loose)


class Worlds(Value):
    """Those that differ in the text, the likeliest that can be first.

    Of features that are loose there is a world for each, and none for several of them: `both` makes it. `told`: what is
    answered in all worlds. `sources`: who could tell, by question that a spec leaves open.
    """

    worlds: tuple[World, ...]
    told: Mapping[OpenQuestion, bool] = Map()
    sources: Mapping[OpenQuestion, str] = Map()

    @property
    def predicted(self) -> Kernel:
        """The kernel of the first."""
        kernel = self.worlds[0].kernel
        assert kernel is not None, "the first world can be"
        return kernel

    def both(self, one: World, other: World) -> World | None:
        """The world in which all is decided that either decides otherwise than predicted; None if there is none."""
        if one.decided & other.decided:
            return None
        decided, turned = one.decided | other.decided, one.turned | other.turned
        for world in self.worlds:
            if world.kernel is not None and world.decided == decided:
                return world
        for world in self.worlds:
            if world.kernel is not None and world.decided == decided - turned and turned <= world.loose:
                return world.turn(turned)
        return None


def find_worlds(facts: Facts, likely: Mapping[str, int], tables: Tables, work: Work, *, whole: bool = False) -> Worlds:
    """The worlds of a kernel with these facts and tables; the facts' own answers hold in all of them.

    `likely`: what numbers that are not bound most likely are, by name. `whole`: what else a spec leaves open is as is
    likely. PredictionError: they are too many; BindError:
    there is none.
    """
    asked = _Asked(facts, tables, work)
    found, sources = list[tuple[Answers, Kernel | str]](), dict[OpenQuestion, str]()
    left = [dict(facts.answers)]  # the likeliest last
    while left:
        answers = left.pop()
        work.add(_RUN_WORK, "what is open of its machine")
        decided = _decided(facts, answers)
        if isinstance(decided, Kernel):
            for feature, step in decided.decisions.opened.items():
                sources.setdefault(CpuHas(feature), step.source)
            decided = asked.number(decided) or decided
        if isinstance(decided, OpenQuestion):
            left += _with_each_answer(decided, answers, likely)
            continue
        if isinstance(decided, Kernel):  # in which they are as is likely
            likeliest = {feature: step.likely for feature, step in decided.decisions.opened.items()}
            unsettled = frozenset((*asked.features(decided), *asked.loose(decided)))
            if whole and unsettled:
                left.append({**answers, **{CpuHas(feature): likeliest[feature] for feature in unsettled}})
                continue
            for feature in asked.features(decided):
                left.append({**answers, CpuHas(feature): not likeliest[feature]})
                answers[CpuHas(feature)] = likeliest[feature]
            answers |= {CpuHas(feature): likeliest[feature] for feature in asked.loose(decided)}
        found.append((Map(answers), decided))
        if len(found) + len(left) > MAX_WORLDS:
            names = {name_of(facts.spec, question) for answers in left for question in answers}
            raise PredictionError(
                f"what is open of this machine can be answered in more than {MAX_WORLDS} ways; settle some of it with "
                f"--assume NAME=yes|no: {', '.join(sorted(names))}"
            )
    return Worlds(tuple(asked.merged(found)), facts.answers, sources)


def name_of(spec: Spec, question: OpenQuestion) -> str:
    """What specs call an open question."""
    match question:
        case CpuHas(feature):
            return next((name for name, number in spec.machine.features.items() if number == feature), str(feature))
        case CpuNumber(what, compare, number):
            return f"cpu {what} {compare} {number:#x}" if what == "microcode" else f"cpu {what} {compare} {number}"
        case Cpus(compare, count):
            return f"cpus {compare} {count}"


def _decided(facts: Facts, answers: Mapping[OpenQuestion, bool]) -> Kernel | OpenQuestion | str:
    """The kernel by these answers; or what it asks besides, or why it cannot be bound."""
    try:
        return Kernel(facts.changed(answers=answers) if answers != facts.answers else facts)
    except Unanswered as error:
        return str(error) if error.question is None else error.question
    except BindError as error:
        return str(error)


def _with_each_answer(
    question: OpenQuestion, answers: Mapping[OpenQuestion, bool], likely: Mapping[str, int]
) -> Iterator[dict[OpenQuestion, bool]]:
    """The answers with each that a question about a number can have beside them, the likelier one last."""
    name, compare, number = _comparison(question)
    known = [(*_comparison(asked), answer) for asked, answer in answers.items() if not isinstance(asked, CpuHas)]
    alike = [(compare, number, answer) for what, compare, number, answer in known if what == name]
    limits = [number, *(number for _, number, _ in alike)]
    possible = {
        COMPARE[compare](value, number)
        for value in {likely[name], *(limit + near for limit in limits for near in (-1, 0, 1) if limit + near >= 0)}
        if all(COMPARE[how](value, limit) == answer for how, limit, answer in alike)
    }
    guess = COMPARE[compare](likely[name], number)
    return ({**answers, question: answer} for answer in sorted(possible, key=lambda answer: answer == guess))


def _comparison(question: OpenQuestion) -> tuple[str, str, int]:
    """Which number is asked for, and how it is compared with which other."""
    if isinstance(question, Cpus):
        return "cpus", question.compare, question.count
    assert isinstance(question, CpuNumber), "a feature is no number"
    return question.what, question.compare, question.number


class _Asked:
    """What the text of a kernel asks for, when the kernel has decided."""

    def __init__(self, facts: Facts, tables: Tables, work: Work) -> None:
        self._facts, self._tables, self._work = facts, tables, work

    @cached_property
    def guards(self) -> list[Guard]:
        """The guards that are asked when the kernel has decided."""
        return [*dict.fromkeys(_guards(self._facts, self._tables))]

    @cached_property
    def questions(self) -> list[FactQuestion]:
        """What they ask of the facts."""
        asked = dict.fromkeys(question for guard in self.guards for question in questions(guard))
        return [question for question in asked if isinstance(question, FactQuestion)]

    @cached_property
    def features_asked(self) -> frozenset[int]:
        """The features among that."""
        return frozenset(question.feature for question in self.questions if isinstance(question, CpuHas))

    @cached_property
    def recorded(self) -> frozenset[int]:
        """The features that records of the tables name."""
        return frozenset(self._features_recorded())

    def number(self, kernel: Kernel) -> OpenQuestion | None:
        """A question about a number that is still to be answered."""
        cpu = self._facts.cpu
        if self._facts.cpus is not None and (cpu is None or None not in cpu):
            return None
        for question in self.questions:
            if isinstance(question, CpuNumber | Cpus) and not isinstance(kernel.answer(question), bool):
                guards = (guard for guard in self.guards if question in questions(guard))
                if not all(isinstance(kernel.condition(guard), bool) for guard in guards):
                    return question
        return None

    def features(self, kernel: Kernel) -> list[int]:
        """Features that nothing answers for, and on which a decision turned or a rule may."""
        decisions = kernel.decisions
        asked = self.features_asked if decisions.unsettled else frozenset()
        matter = decisions.turned | decisions.unsettled & asked
        return [feature for feature in decisions.opened if feature in matter]

    def loose(self, kernel: Kernel) -> frozenset[int]:
        """Features that nothing answers for, and that only records ask for."""
        left = kernel.decisions.unsettled - kernel.decisions.turned
        return frozenset(left & self.recorded - self.features_asked if left else ())

    def merged(self, found: list[tuple[Answers, Kernel | str]]) -> Iterator[World]:
        """The worlds, those made one that decide alike; BindError if there is none that can be."""
        if len(found) == 1 and isinstance(found[0][1], Kernel) and not self.loose(found[0][1]):
            yield World(found[0][1], (found[0][0],))
            return
        alike: dict[frozenset[object] | str, list[tuple[Answers, Kernel | str]]] = {}
        for answers, kernel in found:
            alike.setdefault(kernel if isinstance(kernel, str) else self._decides(kernel), []).append((answers, kernel))
        able = [key for key in alike if not isinstance(key, str)]
        if not able:
            raise BindError(next(str(key) for key in alike))
        alone = set[int]()
        for key in able:
            ways = [(answers, kernel) for answers, kernel in alike[key] if isinstance(kernel, Kernel)]
            decided, loose = key ^ able[0], [self.loose(kernel) for _, kernel in ways]
            yield World(ways[0][1], _ways(ways), "", decided, frozenset(), loose[0])
            for (answers, kernel), features in zip(ways, loose, strict=True):
                world = World(kernel, (answers,), "", decided, frozenset(), features)
                yield from (world.turn(frozenset((feature,))) for feature in sorted(features - alone))
                alone |= features
        yield from (World(None, _ways(alike[key]), key) for key in alike if isinstance(key, str))

    def _decides(self, kernel: Kernel) -> frozenset[object]:
        """What the text depends on, of all that a kernel decided."""
        answers = ((question, kernel.answer(question)) for question in self.questions)
        yes = (question for question, answer in answers if answer is True)
        return frozenset((*yes, kernel.nops_name, *(kernel.features & self.recorded)))

    def _features_recorded(self) -> Iterator[int]:
        for name, family in self._facts.spec.families.items():
            asked = (question for arm in family.rule for question in questions(arm.guard))
            fields = {question.field for question in asked if isinstance(question, CpuHasField)}
            table, _ = self._tables.get(name, (b"", 0))
            if fields and table:
                self._work.add(len(table) // family.layout.size * _RECORD_WORK, "what is open of its machine")
                for record in parse_records(family.layout, table):
                    yield from (record[field] for field in fields)


def _ways(found: Iterable[tuple[Answers, Kernel | str]]) -> tuple[Answers, ...]:
    return tuple(answers for answers, _ in found)


def _guards(facts: Facts, tables: Tables) -> Iterator[Guard]:
    """The guards that are asked when the kernel has decided."""
    spec = facts.spec
    arms = [arm for name in tables if name in spec.families for arm in spec.families[name].rule]
    backend = None if facts.backend is None else spec.backends[facts.backend]
    if backend is not None:
        chains: list[Chain] = [*backend.rules.values(), backend.otherwise]
        chains += [chain for rom in backend.roms.values() for chain in (*rom.chains.values(), rom.otherwise)]
        arms += [arm for chain in chains for arm in chain]
    guards: Iterable[Guard | None] = (
        *(arm.guard for arm in arms),
        *(target.guard for target in (backend.targets if backend is not None else ())),
        *(guard for _, guard in (() if facts.nops is not None else spec.machine.choices)),
    )
    yield from (guard for guard in guards if guard is not None)
