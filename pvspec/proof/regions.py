"""For every chain: at which lengths, clobber masks and answers to guards each arm fires.

This is decided by exhaustion: lengths between which no arm's size falls are treated as one, only the clobber bits that
some arm needs count, and each variable in guards takes each of its values once. Equal regions are then merged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, assert_never

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.fit import rules
from pvspec.compiler.sound.reach import OTHER, Answer, Setting, holds, variables
from pvspec.engine.guards import (
    BackendIs,
    Begins,
    Branches,
    Compares,
    CpuHas,
    CpuHasField,
    CpuNumber,
    Cpus,
    CpuVendor,
    Guard,
    HasBits,
    HasConfig,
    Holds,
    IsAddress,
    KernelHas,
    Nonzero,
    NopsAre,
    OpNoreturn,
    OpTargetIs,
    OptionSet,
    Question,
    TargetIs,
    VariableCompares,
    VariableIs,
    Vulnerability,
    Within,
    both,
)
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.diagnostics import Work

MAX_CELLS = 1 << 16
"""Combinations of lengths and answers to guards for which `prove` decides a rule; one with more is reported as
undecided."""
MAX_INSTRUCTION = 15
"""Bytes of a site that is as long as the instruction at it, of which x86 has no longer ones."""
_FLAT = 10  # units of work that an arm costs for each kind of op


class SiteLength(Value):
    """How long the site is: ranges (first, last) of bytes."""


class Dead(Value):
    """Whether the site declares the register of this clobber bit dead."""

    mask: int


class RomAnswer(Value):
    """The name of a ROM's answer to an argument."""

    rom: str
    argument: int


Variable: TypeAlias = SiteLength | Dead | RomAnswer | Question
"""What decides which arm fires; a question represents the variable that it asks about."""

Box: TypeAlias = tuple[frozenset[Answer], ...]
"""A set of values for each variable, in the variables' order; lengths come first, as ranges (first, last)."""

LENGTH = SiteLength()


class Arm(Value):
    """An arm with the guard under which it is tried; None: the unwritten `keep`.

    Each of `answers` is a query to a ROM and the answers for which the arm is tried.
    """

    arm: model.Arm | None
    guard: Guard | None
    answers: tuple[tuple[RomAnswer, frozenset[Answer]], ...] = ()


class Regions(Value):
    """One chain decided: its variables, and for each arm that fires the boxes in which it does.

    `ops`: the ops of these sites. `never`: the arms that never fire.
    """

    owner: str
    ops: tuple[str, ...]
    variables: tuple[Variable, ...]
    domains: tuple[frozenset[Answer], ...]
    fires: tuple[tuple[model.Arm | None, tuple[Box, ...]], ...]
    never: tuple[model.Arm, ...]


class Undecided(Value):
    """A chain with too many guards to try all combinations."""

    owner: str
    ops: tuple[str, ...]
    cells: int


def all_regions(program: Program, work: Work) -> Iterator[Regions | Undecided]:
    """The regions of each backend's rules, then of the families; equivalent ops are decided together."""
    for backend in program.spec.backends.values():
        for rule in rules(backend):
            alike: dict[tuple[int | None, bool], list[model.Op]] = {}
            for op in rule.ops:
                alike.setdefault((op.length, op.noreturn), []).append(op)
            for (length, noreturn), ops in alike.items():
                lengths = (length, length) if length is not None else (0, _max_len(program))
                names = tuple(op.name for op in ops)
                chain = flattened(rule.chain, backend)
                work.add(_FLAT * len(chain), f"the answers of the roms of {backend.name}")
                yield regions(backend.name, names, chain, lengths, program, {OpNoreturn(): frozenset({noreturn})}, work)
    for family in program.spec.families.values():
        bits = next((field.bits for field in family.layout.fields if field.name == "len"), 0)
        lengths = (family.length,) * 2 if family.length is not None else (0, (1 << bits) - 1)
        if family.decoded:
            lengths = (1, MAX_INSTRUCTION)
        yield regions(family.name, (), flattened(family.rule, None), lengths, program, {}, work)


def _max_len(program: Program) -> int:
    return program.spec.interface.max_len if program.spec.interface is not None else 0


def flattened(chain: model.Chain, backend: model.Backend | None) -> tuple[Arm, ...]:
    """The arms in order, a ROM's query replaced by the arms of each of its answers, and the unwritten `keep`."""
    return (*_flattened(chain, backend, Arm(None, None)), Arm(None, None))


def _flattened(chain: model.Chain, backend: model.Backend | None, outer: Arm) -> Iterator[Arm]:
    for arm in chain:
        guard = both(outer.guard, arm.guard)
        if not isinstance(arm.action, model.Query) or backend is None:
            yield Arm(arm, guard, outer.answers)
            continue
        rom, asked = backend.roms[arm.action.rom], RomAnswer(arm.action.rom, arm.action.argument)
        for answer in rom.answers.values():
            known = (*outer.answers, (asked, frozenset[Answer]({answer.name})))
            yield from _flattened(answer.chain, backend, Arm(None, guard, known))
        others = (*outer.answers, (asked, frozenset[Answer]({OTHER})))
        yield from _flattened(rom.otherwise, backend, Arm(None, guard, others))


def regions(
    owner: str,
    ops: tuple[str, ...],
    chain: Sequence[Arm],
    lengths: tuple[int, int],
    program: Program,
    known: Mapping[Variable, frozenset[Answer]],
    work: Work,
) -> Regions | Undecided:
    """Decide one chain for sites of these lengths, both inclusive; `known` are variables restricted to fewer values."""
    domains = _domains(chain, lengths, program, known)
    cells = math.prod(map(len, domains.values()))
    if cells > MAX_CELLS:
        return Undecided(owner, ops, cells)
    work.add(cells * (len(chain) + len(domains)), f"when each arm of {owner} fires")
    won: dict[model.Arm | None, list[Box]] = {}
    asked = tuple(domains)
    for values in itertools.product(*(sorted(domain, key=repr) for domain in domains.values())):
        winner = first_taken(chain, dict(zip(asked, values, strict=True)), program)
        won.setdefault(winner, []).append(tuple(frozenset({value}) for value in values))
    fires = tuple((arm.arm, tuple(merged(won[arm.arm]))) for arm in _once(chain) if arm.arm in won)
    never = tuple(arm.arm for arm in _once(chain) if arm.arm is not None and arm.arm not in won)
    return Regions(owner, ops, asked, tuple(domains.values()), fires, never)


def _once(chain: Sequence[Arm]) -> list[Arm]:
    return list({arm.arm: arm for arm in chain}.values())


def _domains(
    chain: Sequence[Arm], lengths: tuple[int, int], program: Program, known: Mapping[Variable, frozenset[Answer]]
) -> dict[Variable, frozenset[Answer]]:
    asked: dict[Variable, set[Answer]] = {}
    cuts = {lengths[0], lengths[1] + 1}
    for arm in chain:
        for question, values in variables(arm.guard):
            if question == _LEN:
                cuts |= {cut for value in _numbers(values) for cut in (value, value + 1)}
            else:
                asked.setdefault(question, set()).update(values)
        for rom, answers in arm.answers:
            asked.setdefault(rom, {OTHER}).update(answers)
        size, mask = needs(arm, program)
        cuts.add(size)
        asked.update({dead: {True, False} for dead in _dead(mask)})
    inside = sorted(cut for cut in cuts if lengths[0] <= cut <= lengths[1] + 1)
    ranges = frozenset[Answer]((start, end - 1) for start, end in itertools.pairwise(inside))
    always = program.spec.machine.always
    fixed: dict[Variable, frozenset[Answer]] = {CpuHas(number): frozenset({True}) for number in always}
    fixed.update(known)
    domains: dict[Variable, frozenset[Answer]] = {LENGTH: ranges}
    return domains | {variable: fixed.get(variable, frozenset(values)) for variable, values in asked.items()}


_LEN = Compares("len", "==", 0)
_MNEMONICS = {0xE8: "call", 0xE9: "jmp", 0xEB: "jmp short"}


def _numbers(values: Iterable[Answer]) -> Iterator[int]:
    """The numbers among a variable's values."""
    for value in values:
        match value:
            case (int(number),):
                yield number


def _dead(mask: int) -> list[Dead]:
    return [Dead(1 << bit) for bit in range(mask.bit_length()) if mask >> bit & 1]


def needs(arm: Arm, program: Program) -> tuple[int, int]:
    """The length in bytes and the clobber mask that an arm needs."""
    code = program.code.get(arm.arm) if arm.arm is not None else None
    return (len(code.data), arm.arm.mask) if code is not None and arm.arm is not None else (0, 0)


def first_taken(chain: Sequence[Arm], values: Mapping[Variable, Answer], program: Program) -> model.Arm | None:
    """The first arm that does not decline."""
    ((first, last),) = _ranges([values[LENGTH]])
    questions = {
        asked: value for asked, value in values.items() if not isinstance(asked, SiteLength | Dead | RomAnswer)
    }
    setting = Setting({**questions, _LEN: (first,) if first == last else OTHER})
    for arm in chain:
        size, mask = needs(arm, program)
        dead = all(values.get(dead, False) for dead in _dead(mask))
        answered = all(values[rom] in answers for rom, answers in arm.answers)
        if size <= first and dead and answered and holds(arm.guard, setting):
            return arm.arm
    return None


def merged(boxes: Sequence[Box]) -> list[Box]:
    """The same region in fewer boxes: boxes that differ in one variable only are merged."""
    current = list(boxes)
    while True:
        before = len(current)
        for index in range(len(current[0]) if current else 0):
            groups: dict[Box, frozenset[Answer]] = {}
            for box in current:
                rest = (*box[:index], *box[index + 1 :])
                groups[rest] = groups.get(rest, frozenset()) | box[index]
            current = [(*rest[:index], values, *rest[index:]) for rest, values in groups.items()]
        if len(current) == before:
            return current


# ---- words


def described(box: Box, found: Regions, program: Program) -> str:
    """A box in words; variables that do not matter are left out."""
    names: dict[Variable, str] = {CpuHas(number): name for name, number in program.spec.machine.features.items()}
    clobbers = program.spec.interface.clobbers if program.spec.interface is not None else {}
    names.update({Dead(mask): name for name, mask in clobbers.items()})
    lengths, *rest = box
    parts = [f"len {', '.join(map(_range, _joined(_ranges(lengths))))}"]
    for variable, domain, chosen in zip(found.variables[1:], found.domains[1:], rest, strict=True):
        if chosen != domain:
            parts.append(_words(variable, domain, chosen, names))
    return "; ".join(parts)


def _ranges(values: Iterable[Answer]) -> list[tuple[int, int]]:
    """Lengths as pairs of numbers."""
    found = []
    for value in values:
        match value:
            case (int(first), int(last)):
                found.append((first, last))
    return found


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _range(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}..{ends[1]}"


def _words(
    variable: Variable, domain: frozenset[Answer], chosen: frozenset[Answer], names: Mapping[Variable, str]
) -> str:
    subject = _subject(variable, names)
    if domain <= {True, False}:
        return subject if chosen == {True} else f"not {subject}"
    other = OTHER in chosen
    values = domain - chosen if other else chosen
    return f"{subject} is {'not ' if other else ''}{' or '.join(sorted(map(_shown, values)))}"


def _shown(value: Answer) -> str:
    """A value that is not a boolean: a ROM's answer, a symbol, a number."""
    match value:
        case (None,):
            return "null"
        case (one,):
            return str(one)
    return str(value)


def _subject(variable: Variable, names: Mapping[Variable, str]) -> str:
    """A variable in the words of the language."""
    match variable:
        case SiteLength():
            return "len"
        case Dead(mask):
            return f"{names.get(variable, hex(mask))} dead"
        case RomAnswer(rom, argument):
            return f"{rom}({argument})"
        case CpuHas(feature):
            return f"cpu has {names.get(variable, feature)}"
        case CpuHasField(name):
            return f"cpu has {name}"
        case CpuVendor(vendor):
            return f"cpu vendor {vendor}"
        case CpuNumber(what, compare, number):
            return f"cpu {what} {compare} {number}"
        case Cpus(compare, count):
            return f"cpus {compare} {count}"
        case VariableCompares(name, compare, number):
            return f"{name} {compare} {number}"
        case HasConfig(name):
            return f"config {name}"
        case KernelHas(name):
            return f"kernel has {name}"
        case Vulnerability(file, how, text):
            return f"vulnerability {file} {how} {text}"
        case BackendIs(name):
            return f"backend is {name}"
        case NopsAre(name):
            return f"nops are {name}"
        case OpTargetIs(op, symbol):
            return f"target of {op} is {symbol or 'null'}"
        case TargetIs():
            return "target"
        case OptionSet(name) | Nonzero(name) | Holds(name) | VariableIs(name):
            return name
        case OpNoreturn():
            return "op is noreturn"
        case Branches(prefixed, opcode, name):
            return f"site is {'cs ' if prefixed else ''}{_MNEMONICS[opcode]} {name}"
        case Within(name, start, end):
            return f"{name} within {start} .. {end}"
        case IsAddress(name, symbol):
            return f"{name} is {symbol or 'null'}"
        case Compares(name, "=="):
            return name
        case Compares(name, compare, number):
            return f"{name} {compare} {number}"
        case Begins(name, addend, code, mask):
            return f"{name}{f' {addend:+}' if addend else ''} begins {_pattern(code, mask)}"
        case HasBits(name, addend, mask):
            return f"{name}{f' {addend:+}' if addend else ''} & {mask:#x}"
    assert_never(variable)


def _pattern(code: bytes, mask: bytes) -> str:
    """The bytes as a spec has them: `?` for a digit that is not in the mask."""
    known = mask.hex(" ") or "f" * len(code.hex(" "))
    return "".join("?" if bits == "0" else digit for digit, bits in zip(code.hex(" "), known, strict=True))
