"""What nothing tells of a machine, and how much of its kernel's text hangs on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

from pvspec.engine.guards import CpuHas, CpuNumber, Cpus, OpenQuestion
from pvspec.engine.spec import Spec
from pvspec.prediction.other_texts import OtherSite, OtherTexts
from pvspec.prediction.worlds import Worlds, name_of


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
    return [question for question in asked if question not in worlds.told and _pairs(worlds, question)]


def condition(spec: Spec, worlds: Worlds, number: int) -> str:
    """What is answered otherwise in a world than in the predicted one, as a guard."""
    predicted = worlds.worlds[0].answers[0]
    others = (
        [(question, answer) for question, answer in answers.items() if predicted.get(question) != answer]
        for answers in worlds.worlds[number].answers
    )
    fewest = min(others, key=len)
    return " and ".join(f"{'' if answer else 'not '}{name_of(spec, question)}" for question, answer in fewest)


def unsettled(spec: Spec, worlds: Worlds, texts: OtherTexts, text: range) -> Iterator[Unsettled]:
    """What the bytes of a text, a range of addresses, hang on."""
    own = [{}, *(world.text.own for world in texts.worlds)]
    failed = ["", *(world.failed for world in texts.worlds)]
    failed += [world.failed for world in worlds.worlds[len(failed) :]]
    predicted = worlds.worlds[0].answers[0]
    for question in open_questions(worlds):
        pairs = _pairs(worlds, question)
        why = next((failed[number] for pair in pairs for number in pair if failed[number]), "")
        differing: set[int] = set()
        sites: set[tuple[str, int]] = set()
        for one, other in (pair for pair in pairs if not any(failed[number] for number in pair)):
            there = _differing(own[one], own[other], text)
            differing |= there
            sites |= {
                (site.table, site.record)
                for site in texts.sites
                if site.world + 1 in (one, other) and _covers(site, there)
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


def _pairs(worlds: Worlds, question: OpenQuestion) -> set[tuple[int, int]]:
    """The worlds, by number, that differ by this answer alone, as far as both ask the same."""
    ways = [(number, answers) for number, world in enumerate(worlds.worlds) for answers in world.answers]
    yes, no = ([way for way in ways if way[1].get(question) is answer] for answer in (True, False))
    return {
        (one, other)
        for (one, answers), (other, others) in product(yes, no)
        if one != other and all(others.get(asked, said) == said for asked, said in answers.items() if asked != question)
    }


def _differing(own: Mapping[int, int], other: Mapping[int, int], text: range) -> set[int]:
    """The addresses at which two worlds' texts differ."""
    return {at for at in own.keys() | other.keys() if at in text and own.get(at) != other.get(at)}


def _covers(site: OtherSite, addresses: set[int]) -> bool:
    return any(at in addresses for at in range(site.address, site.address + site.length))


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
