"""For every chain: at which lengths, clobber masks and answers to guards each arm fires.

Decided by going through all of it: lengths between which no arm's size lies are one, only the clobber bits that some
arm asks for count, and each guard's question takes each of its answers once. What is alike is then put together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import rules
from pvspec.compiler.sound.reach import OTHER, holds, questions
from pvspec.engine.spec import Guard, Value
from pvspec.lang import model

MAX_CELLS = 1 << 16
Box: TypeAlias = tuple[frozenset[Any], ...]
"""A set of answers for each question, in the questions' order; lengths come first, as ranges (first, last)."""

LENGTH = ("length",)
MAX_INSTRUCTION = 15  # bytes


class Arm(Value):
    """An arm with the guard under which it is tried, that of a rom's answer included; None: the unwritten `keep`."""

    arm: model.Arm | None
    guard: Guard | None


class Regions(Value):
    """One chain decided: its questions, and for each arm that fires the boxes in which it does.

    `ops`: whose sites these are. `never`: the arms that fire nowhere.
    """

    owner: str
    ops: tuple[str, ...]
    questions: tuple[Guard, ...]
    domains: tuple[frozenset[Any], ...]
    fires: tuple[tuple[model.Arm | None, tuple[Box, ...]], ...]
    never: tuple[model.Arm, ...]


class Undecided(Value):
    """A chain with more guards than can be gone through."""

    owner: str
    ops: tuple[str, ...]
    cells: int


def all_regions(program: Program) -> Iterator[Regions | Undecided]:
    """The regions of each backend's rules, then of the families; ops that cannot be told apart are one."""
    for backend in program.spec.backends.values():
        for rule in rules(backend):
            alike: dict[tuple[int | None, bool], list[model.Op]] = {}
            for op in rule.ops:
                alike.setdefault((op.length, op.noreturn), []).append(op)
            for (length, noreturn), ops in alike.items():
                lengths = (length, length) if length is not None else (0, _max_len(program))
                names = tuple(op.name for op in ops)
                chain = flattened(rule.chain, backend)
                yield regions(backend.name, names, chain, lengths, program, {("noreturn",): frozenset({noreturn})})
    for family in program.spec.families.values():
        bits = next((field.bits for field in family.layout.fields if field.name == "len"), 0)
        lengths = (family.length,) * 2 if family.length is not None else (0, (1 << bits) - 1)
        if family.decoded:
            lengths = (1, MAX_INSTRUCTION)
        yield regions(family.name, (), flattened(family.rule, None), lengths, program, {})


def _max_len(program: Program) -> int:
    return program.spec.interface.max_len if program.spec.interface is not None else 0


def flattened(chain: model.Chain, backend: model.Backend | None) -> tuple[Arm, ...]:
    """The arms in order, a rom's question replaced by the arms of each of its answers, and the unwritten `keep`."""
    return (*_flattened(chain, backend, None), Arm(None, None))


def _flattened(chain: model.Chain, backend: model.Backend | None, outer: Guard | None) -> Iterator[Arm]:
    for arm in chain:
        guard = _both(outer, arm.guard)
        if isinstance(arm.action, model.Query) and backend is not None:
            rom, argument = arm.action.rom, arm.action.argument
            for answer in backend.roms[rom].answers.values():
                asked = ("answer", rom, argument, answer.name)
                yield from _flattened(answer.chain, backend, _both(guard, asked))
            known = tuple(("answer", rom, argument, answer.name) for answer in backend.roms[rom].answers.values())
            yield from _flattened(backend.roms[rom].otherwise, backend, _both(guard, ("not", ("any", *known))))
        else:
            yield Arm(arm, guard)


def _both(one: Guard | None, other: Guard | None) -> Guard | None:
    return one or other if one is None or other is None else ("all", one, other)


def regions(
    owner: str,
    ops: tuple[str, ...],
    chain: Sequence[Arm],
    lengths: tuple[int, int],
    program: Program,
    known: Mapping[Guard, frozenset[Any]],
) -> Regions | Undecided:
    """Decide one chain for sites of these lengths, both included; `known` are questions with fewer answers."""
    domains = _domains(chain, lengths, program, known)
    cells = math.prod(map(len, domains.values()))
    if cells > MAX_CELLS:
        return Undecided(owner, ops, cells)
    won: dict[model.Arm | None, list[Box]] = {}
    asked = tuple(domains)
    for answers in itertools.product(*(sorted(domain, key=repr) for domain in domains.values())):
        winner = first_taken(chain, dict(zip(asked, answers, strict=True)), program)
        won.setdefault(winner, []).append(tuple(frozenset({answer}) for answer in answers))
    fires = tuple((arm.arm, tuple(merged(won[arm.arm]))) for arm in _once(chain) if arm.arm in won)
    never = tuple(arm.arm for arm in _once(chain) if arm.arm is not None and arm.arm not in won)
    return Regions(owner, ops, asked, tuple(frozenset(domain) for domain in domains.values()), fires, never)


def _once(chain: Sequence[Arm]) -> list[Arm]:
    return list({arm.arm: arm for arm in chain}.values())


def _domains(
    chain: Sequence[Arm], lengths: tuple[int, int], program: Program, known: Mapping[Guard, frozenset[Any]]
) -> dict[Guard, frozenset[Any]]:
    asked: dict[Guard, set[Any]] = {}
    cuts = {lengths[0], lengths[1] + 1}
    for arm in chain:
        for question, answers in questions(arm.guard):
            if question == ("compares", "len", "=="):
                cuts |= {cut for ((value,),) in [answers - {OTHER}] for cut in (value, value + 1)}
            else:
                asked.setdefault(question, set()).update(answers)
        size, mask = needs(arm, program)
        cuts.add(size)
        for bit in range(mask.bit_length()):
            if mask >> bit & 1:
                asked["dead", 1 << bit] = {True, False}
    inside = sorted(cut for cut in cuts if lengths[0] <= cut <= lengths[1] + 1)
    ranges = frozenset((start, end - 1) for start, end in itertools.pairwise(inside))
    fixed = dict(known) | {("cpu", number): frozenset({True}) for number in program.spec.machine.always}
    return {LENGTH: ranges} | {question: fixed.get(question, frozenset(answers)) for question, answers in asked.items()}


def needs(arm: Arm, program: Program) -> tuple[int, int]:
    """The bytes that an arm needs, and the clobber mask."""
    code = program.code.get(arm.arm) if arm.arm is not None else None
    return (len(code.data), arm.arm.mask) if code is not None and arm.arm is not None else (0, 0)


def first_taken(chain: Sequence[Arm], answers: Mapping[Guard, Any], program: Program) -> model.Arm | None:
    """The first arm that does not decline."""
    first, last = answers[LENGTH]
    setting = {**answers, ("compares", "len", "=="): (first,) if first == last else OTHER}
    for arm in chain:
        size, mask = needs(arm, program)
        dead = all(setting.get(("dead", 1 << bit), False) for bit in range(mask.bit_length()) if mask >> bit & 1)
        if size <= first and dead and holds(arm.guard, setting):
            return arm.arm
    return None


def merged(boxes: Sequence[Box]) -> list[Box]:
    """The same region in fewer boxes: those that differ in one question's answers only become one."""
    current = list(boxes)
    while True:
        before = len(current)
        for index in range(len(current[0]) if current else 0):
            groups: dict[Box, frozenset[Any]] = {}
            for box in current:
                rest = (*box[:index], *box[index + 1 :])
                groups[rest] = groups.get(rest, frozenset()) | box[index]
            current = [(*rest[:index], answers, *rest[index:]) for rest, answers in groups.items()]
        if len(current) == before:
            return current


# ---- words


def described(box: Box, found: Regions, program: Program) -> str:
    """A box in words, an answer that does not matter left out."""
    names: dict[Guard, str] = {("cpu", number): name for name, number in program.spec.machine.features.items()}
    clobbers = program.spec.interface.clobbers if program.spec.interface is not None else {}
    names |= {("dead", mask): name for name, mask in clobbers.items()}
    lengths, *answers = box
    parts = [f"len {', '.join(map(_range, _joined(lengths)))}"]
    for question, domain, chosen in zip(found.questions[1:], found.domains[1:], answers, strict=True):
        if chosen != domain:
            parts.append(_words(question, domain, chosen, names))
    return "; ".join(parts)


def _joined(ranges: frozenset[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}..{ends[1]}"


def _words(question: Guard, domain: frozenset[Any], chosen: frozenset[Any], names: Mapping[Guard, str]) -> str:
    subject = _asked(question, names)
    if domain <= {True, False}:
        return subject if chosen == {True} else f"not {subject}"
    other = OTHER in chosen
    values = domain - chosen if other else chosen
    listed = sorted("null" if value is None else str(value) for (value,) in values)
    return f"{subject} is {'not ' if other else ''}{' or '.join(listed)}"


def _asked(question: Guard, names: Mapping[Guard, str]) -> str:
    """A question in the words of the language; a guard that is not known here, as it is."""
    match question:
        case ("dead", mask):
            return f"{names.get(question, hex(mask))} dead"
        case ("cpu", number):
            return f"cpu has {names.get(question, number)}"
        case ("cpu field", name):
            return f"cpu has {name}"
        case ("branch", prefixed, opcode, name):
            return f"site is {'cs ' if prefixed else ''}{'call' if opcode == 0xE8 else 'jmp'} {name}"
        case ("within", name, first, last):
            return f"{name} within {first} .. {last}"
        case ("is", name, symbol):
            return f"{name} is {symbol or 'null'}"
        case ("compares", name, "=="):
            return str(name)
        case ("begins", name, addend, code):
            return f"{name}{f' {addend:+}' if addend else ''} begins {code.hex(' ')}"
        case ("bits", name, addend, mask):
            return f"{name}{f' {addend:+}' if addend else ''} & {mask:#x}"
        case ("answer", rom, argument):
            return f"{rom}({argument})"
        case ("option" | "field", name):
            return str(name)
        case ("noreturn",):
            return "op is noreturn"
    return " ".join(map(str, question))
