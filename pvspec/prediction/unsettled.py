"""What nothing tells of a machine, and how much of its kernel's text hangs on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from pvspec.engine.guards import CpuHas, CpuNumber, Cpus, OpenQuestion
from pvspec.engine.spec import Spec
from pvspec.prediction.other_texts import OtherTexts
from pvspec.prediction.worlds import World, Worlds, name_of


class Unsettled(NamedTuple):
    """Something that nothing tells: a feature, or how a number compares, as specs call it; who could tell.

    `taken`: what the prediction has taken it for; None: there it does not matter. `sites` and `bytes` of the text are
    other ones in worlds that answer it otherwise. `settle`: the argument that settles it. `failed`: why the kernel
    stops with one of the answers, else empty.
    """

    name: str
    source: str
    taken: bool | None
    sites: int
    bytes: int
    settle: str
    failed: str = ""

    def __str__(self) -> str:
        taken = {True: ", taken as yes", False: ", taken as no", None: ""}[self.taken]
        hangs = f"{_counted(self.sites, 'site')}, {_counted(self.bytes, 'byte')}"
        failed = f"; with one answer the kernel stops: {self.failed}" if self.failed else ""
        return f"open: {self.name}{taken} ({self.source}): {hangs}; {self.settle}{failed}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def open_questions(worlds: Worlds) -> list[OpenQuestion]:
    """What is asked in some world, and neither told nor without a difference."""
    asked = dict.fromkeys(question for world in worlds.worlds for answers in world.answers for question in answers)
    return [question for question in asked if question not in worlds.told and _pairs(worlds.worlds, question)]


def condition(spec: Spec, worlds: Worlds, world: World) -> str:
    """What is answered otherwise in a world than in the predicted one, as a guard."""
    predicted = worlds.worlds[0].answers[0]
    others = (
        [(question, answer) for question, answer in answers.items() if predicted.get(question) != answer]
        for answers in world.answers
    )
    fewest = min(others, key=len)
    return " and ".join(f"{'' if answer else 'not '}{name_of(spec, question)}" for question, answer in fewest)


def unsettled(spec: Spec, worlds: Worlds, texts: OtherTexts, text: range) -> Iterator[Unsettled]:
    """What the bytes of a text, a range of addresses, hang on."""
    predicted = worlds.worlds[0].answers[0]
    begun = [other.world for other in texts.worlds]
    every = [*worlds.worlds, *(world for world in begun if world not in worlds.worlds)]
    failed = {id(other.world): other.failed for other in texts.worlds}
    own = [texts.own(world) for world in every]
    for question in open_questions(worlds):
        why = ""
        differing: set[int] = set()
        sites: set[tuple[str, int]] = set()
        counted: set[frozenset[object]] = set()
        for one, other in sorted(_pairs(every, question)):
            hangs = every[one].decided ^ every[other].decided
            if hangs in counted and not (every[one] in begun and every[other] in begun):
                continue  # as much as between the worlds whose differences they have
            counted.add(hangs)
            first, second = own[one], own[other]
            if first is None or second is None:
                stopped = every[one if first is None else other]
                why = stopped.failed or failed.get(id(stopped), "")
                continue
            there = _differing(first, second, text)
            differing |= there
            decided = every[one].decided | every[other].decided
            sites |= {
                (site.table, site.record)
                for site in texts.sites
                if not there.isdisjoint(range(site.address, site.address + site.length))
                and texts.worlds[site.world].world.decided <= decided
            }
        if differing or why:
            yield Unsettled(
                name_of(spec, question),
                worlds.sources.get(question, _SOURCES.get(_number(question), "")),
                predicted.get(question),
                len(sites),
                len(differing),
                _settling(spec, question),
                why,
            )


def _pairs(worlds: Sequence[World], question: OpenQuestion) -> set[tuple[int, int]]:
    """The worlds, by number, that differ by this answer alone, as far as both ask the same."""
    ways = [(number, answers) for number, world in enumerate(worlds) for answers in world.answers]
    yes, no = ([way for way in ways if way[1].get(question) is answer] for answer in (True, False))
    return {
        (one, other)
        for (one, answers), (other, others) in product(yes, no)
        if one != other and all(others.get(asked, said) == said for asked, said in answers.items() if asked != question)
    }


def _differing(own: Mapping[int, int], other: Mapping[int, int], text: range) -> set[int]:
    """The addresses at which two worlds' texts differ."""
    here, there = own.get, other.get
    return {at for at in own.keys() | other.keys() if text.start <= at < text.stop and here(at) != there(at)}


def _number(question: OpenQuestion) -> str:
    """The number that a question asks for, empty for a feature."""
    match question:
        case CpuHas():
            return ""
        case CpuNumber(what):
            return what
        case Cpus():
            return "cpus"


def _settling(spec: Spec, question: OpenQuestion) -> str:
    """The argument with which a user settles a question."""
    number = _number(question)
    if number:
        return "--cpus N" if number == "cpus" else f"--assume {number}=N"
    return f"--assume {name_of(spec, question)}=yes|no"


_SOURCES = {
    "cpus": "how many processors there were when the kernel patched itself",
    "threads": "`siblings` and `cpu cores` of /proc/cpuinfo",
    "microcode": "`microcode` of /proc/cpuinfo",
}
