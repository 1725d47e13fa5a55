"""Guards: the conditions of arms and decisions. One class a kind, one evaluation, one walk.

Whoever adds a guard adds a class to `Question`; mypy then names each place where it is missing (`assert_never`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from pvspec.engine.site import Site
from pvspec.engine.value import Value

Test: TypeAlias = Callable[[Site], bool | None]
"""What only a site can answer; None where not even the site tells."""

# ---- what guards are made of


class AnyOf(Value):
    """One of the parts holds."""

    parts: tuple[Guard, ...]


class AllOf(Value):
    """All parts hold."""

    parts: tuple[Guard, ...]


class Not(Value):
    """The part does not hold."""

    part: Guard


# ---- what the facts answer, alike for all sites


class CpuHas(Value):
    """The kernel decides by this feature, a number of the spec's machine."""

    feature: int


class CpuVendor(Value):
    """The CPU calls itself so, in the words of /proc/cpuinfo."""

    vendor: str


class CpuNumber(Value):
    """A number of the CPU compares so (==, <=, >=, <, >) with another one.

    `what`: its family, model, stepping, microcode (revision), or threads (of one core).
    """

    what: str
    compare: str
    number: int


class Cpus(Value):
    """The number of processors that there were when the kernel patched itself compares so with a number."""

    compare: str
    count: int


class VariableIs(Value):
    """A variable of the kernel, which its command line or a decision set, has this value."""

    variable: str
    value: str


class VariableCompares(Value):
    """A variable of the kernel that is a number compares so with a number."""

    variable: str
    compare: str
    number: int


class Holds(Value):
    """The condition that a policy gave this name held when it was reached."""

    condition: str


class HasConfig(Value):
    """The kernel was configured with this."""

    config: str


class KernelHas(Value):
    """The kernel has this symbol, which tells how it was configured."""

    symbol: str


class Vulnerability(Value):
    """What a running kernel says in a file of /sys/devices/system/cpu/vulnerabilities starts with a text, or has it.

    `how` is "starts" or "contains".
    """

    file: str
    how: str
    text: str


class BackendIs(Value):
    """This backend answers the ops."""

    backend: str


class NopsAre(Value):
    """This nop table is used."""

    table: str


class OptionSet(Value):
    """This option of the spec is true."""

    option: str


class OpTargetIs(Value):
    """The function in this op's slot is the symbol's; null (None): there is none."""

    op: str
    symbol: str | None


# ---- what each site answers


class TargetIs(Value):
    """The function in the slot of the site's op is the symbol's; null (None): there is none."""

    symbol: str | None


class OpNoreturn(Value):
    """The site's op does not return."""


class CpuHasField(Value):
    """The kernel decides by the feature whose number is in this field of the record."""

    field: str


class Within(Value):
    """A value is an address in [first, last), two symbols."""

    value: str
    first: str
    last: str


class Branches(Value):
    """The site begins with a call (opcode 0xe8) or jump (0xe9, 0xeb), after a cs prefix or not.

    It leads to a symbol, or to where a value says.
    """

    prefixed: bool
    opcode: int
    to: str


class Begins(Value):
    """The code at the address value + addend begins with these bytes; if there is a mask, where it has bits."""

    value: str
    addend: int
    code: bytes
    mask: bytes = b""


class Nonzero(Value):
    """A value is not 0."""

    value: str


class Compares(Value):
    """A value compares so (==, <=, >=, <, >) with a number."""

    value: str
    compare: str
    number: int


class HasBits(Value):
    """Value + addend has one of the mask's bits."""

    value: str
    addend: int
    mask: int


class IsAddress(Value):
    """A value is a symbol's address, or another value; null (None): it is 0."""

    value: str
    other: str | None


FactQuestion: TypeAlias = (
    CpuHas
    | CpuVendor
    | CpuNumber
    | Cpus
    | VariableIs
    | VariableCompares
    | Holds
    | HasConfig
    | KernelHas
    | Vulnerability
    | BackendIs
    | NopsAre
    | OptionSet
    | OpTargetIs
)
OpenQuestion: TypeAlias = CpuHas | CpuNumber | Cpus
"""What may be left open, since nothing tells."""

ValueQuestion: TypeAlias = Within | Begins | Nonzero | Compares | HasBits | IsAddress
"""What asks for a `value`: a field of the site's record, or what it leads to in memory."""

SiteQuestion: TypeAlias = TargetIs | OpNoreturn | CpuHasField | Branches | ValueQuestion
Question: TypeAlias = FactQuestion | SiteQuestion
Guard: TypeAlias = AnyOf | AllOf | Not | Question


class Answers(Protocol):
    """What answers questions: yes, no, unknown (None), or that each site has to be asked."""

    def answer(self, question: Question, /) -> bool | Test | None:
        """The answer to one question."""
        ...


def evaluate(guard: Guard, facts: Answers) -> bool | None:
    """Whether a guard holds; None where the facts leave it open, or each site decides."""
    verdict = staged(guard, facts)
    return verdict if isinstance(verdict, bool) else None


def staged(guard: Guard, facts: Answers) -> bool | Test | None:
    """As `evaluate`; where it depends on the site, the test to put to each: made once, asked a million times."""
    match guard:
        case AnyOf(parts):
            return _joined(True, [staged(part, facts) for part in parts])
        case AllOf(parts):
            return _joined(False, [staged(part, facts) for part in parts])
        case Not(part):
            return _negated(staged(part, facts))
    return facts.answer(guard)


def walk(guard: Guard | None) -> Iterator[Guard]:
    """The guard and all its parts, from the outside in; nothing for None."""
    if guard is None:
        return
    yield guard
    match guard:
        case AnyOf(parts) | AllOf(parts):
            for part in parts:
                yield from walk(part)
        case Not(part):
            yield from walk(part)


def questions(guard: Guard | None) -> Iterator[Question]:
    """The questions that a guard asks, in its order."""
    for part in walk(guard):
        if not isinstance(part, AnyOf | AllOf | Not):
            yield part


def values(question: Question) -> frozenset[str]:
    """The names of the values that a question may ask for; some may be symbols."""
    match question:
        case IsAddress(value, other):
            return frozenset((value, other or value))
        case Within(value) | Begins(value) | Nonzero(value) | Compares(value) | HasBits(value):
            return frozenset((value,))
        case Branches(_, _, to):
            return frozenset((to,))
    return frozenset()


def both(one: Guard | None, other: Guard | None) -> Guard | None:
    """The guard that holds when both do; None always holds."""
    if one is None or other is None:
        return one or other
    return AllOf((one, other))


def _joined(decisive: bool, verdicts: Sequence[bool | Test | None]) -> bool | Test | None:
    """What comes of parts of which a single one may be decisive: True in `any`, False in `all`."""
    tests = [verdict for verdict in verdicts if callable(verdict)]
    if decisive in verdicts:
        return decisive
    rest = None if None in verdicts else not decisive
    if not tests:
        return rest
    return tests[0] if len(tests) == 1 and rest is not None else _until(decisive, tests, rest)


def _until(decisive: bool, tests: Sequence[Test], rest: bool | None) -> Test:
    """Whether one test comes to what is decisive, else `rest`; a loop takes half the time of `any`, a million times."""

    def holds(site: Site) -> bool | None:
        found = rest
        for test in tests:
            verdict = test(site)
            if verdict is decisive:
                return decisive
            if verdict is None:
                found = None
        return found

    return holds


def _negated(verdict: bool | Test | None) -> bool | Test | None:
    if verdict is None or isinstance(verdict, bool):
        return None if verdict is None else not verdict
    test = verdict

    def negated(site: Site) -> bool | None:
        found = test(site)
        return None if found is None else not found

    return negated
