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

    `kernel` is None where it cannot decide: `failed` says why.
    """

    kernel: Kernel | None
    answers: tuple[Answers, ...]
    failed: str = ""


class Worlds(Value):
    """Those that differ in the text, the likeliest that can be first.

    `told`: what is answered in all of them. `sources`: who could tell, by question that a spec leaves open.
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


def find_worlds(facts: Facts, likely: Mapping[str, int], tables: Tables, work: Work) -> Worlds:
    """The worlds of a kernel with these facts and tables; the facts' own answers hold in all of them.

    `likely`: what numbers that are not bound most likely are, by name. PredictionError: they are too many; BindError:
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
        for question in asked.features(decided) if isinstance(decided, Kernel) else ():  # they were clear
            left.append({**answers, question: True})
            answers[question] = False
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
        return error.question
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

    def features(self, kernel: Kernel) -> list[OpenQuestion]:
        """Features that nothing answers for, and on which a decision turned or the text may."""
        decisions = kernel.decisions
        if not decisions.unsettled and not decisions.turned:
            return []
        asked = {question.feature for question in self.questions if isinstance(question, CpuHas)} | self.recorded
        matter = decisions.turned | decisions.unsettled & asked
        return [CpuHas(feature) for feature in decisions.opened if feature in matter]

    def merged(self, found: list[tuple[Answers, Kernel | str]]) -> Iterator[World]:
        """The worlds, those made one that decide alike; BindError if there is none that can be."""
        alike: dict[object, list[tuple[Answers, Kernel | str]]] = {}
        for answers, kernel in found:
            key = kernel if isinstance(kernel, str) or len(found) == 1 else self._decides(kernel)
            alike.setdefault(key, []).append((answers, kernel))
        worlds = [
            World(kernel, told) if isinstance(kernel, Kernel) else World(None, told, kernel)
            for group in alike.values()
            for kernel, told in [(group[0][1], tuple(answers for answers, _ in group))]
        ]
        if worlds[0].kernel is None and all(world.kernel is None for world in worlds):
            raise BindError(worlds[0].failed)
        yield from sorted(worlds, key=lambda world: world.kernel is None)

    def _decides(self, kernel: Kernel) -> object:
        """What the text depends on, of all that a kernel decided."""
        answers = (kernel.answer(question) for question in self.questions)
        facts = tuple(answer if isinstance(answer, bool) else None for answer in answers)
        return facts, kernel.nops_name, kernel.features & self.recorded

    def _features_recorded(self) -> Iterator[int]:
        for name, family in self._facts.spec.families.items():
            asked = (question for arm in family.rule for question in questions(arm.guard))
            fields = {question.field for question in asked if isinstance(question, CpuHasField)}
            table, _ = self._tables.get(name, (b"", 0))
            if fields and table:
                self._work.add(len(table) // family.layout.size * _RECORD_WORK, "what is open of its machine")
                for record in parse_records(family.layout, table):
                    yield from (record[field] for field in fields)


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
