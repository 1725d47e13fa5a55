"""A checked spec: names resolved, numbers in range, records laid out. A model exists only if the checks passed.

Layouts, guards and the machine are already the engine's; code is still
source text, for `assemble` to turn into bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pvspec.engine.command_line import CommandLine
from pvspec.engine.guards import Guard, OptionSet, Question
from pvspec.engine.spec import Architecture as Architecture
from pvspec.engine.spec import Decide, Layout
from pvspec.engine.spec import Read as Read
from pvspec.engine.spec import Slot as Slot
from pvspec.engine.spec import Target as Target
from pvspec.engine.value import Map, Value
from pvspec.lang import syntax as ast
from pvspec.lang.source import Source, Span

Configuration: TypeAlias = tuple[bool, ...]


class OptionSettings(Value):
    """Settings of options, as a source of answers for guards; all other questions remain unknown."""

    options: Mapping[str, bool]

    def answer(self, question: Question) -> bool | None:
        """The answer to one question."""
        return self.options.get(question.option) if isinstance(question, OptionSet) else None


class Symbol(Value):
    """An address bound per kernel; calling it may destroy these registers."""

    name: str
    span: Span
    clobbers: frozenset[str]


class Assembly(Value):
    """Code in Intel syntax."""

    source: ast.Text


class RawBytes(Value):
    """Code given in bytes; `partial`: it may be part of an instruction, as a family's site may be."""

    source: ast.Text
    data: bytes
    partial: bool


class Branch(Value):
    """`call` or `jmp` to a symbol, the op's `target`, or a field or a read, or to so many bytes after it."""

    mnemonic: str
    symbol: str
    addend: int
    prefixed: bool
    short: bool
    span: Span


class Aim(Value):
    """The branch at the site, aimed at a symbol, a field or a read."""

    name: str


class Store(Value):
    """The value of a read, stored in so many bytes."""

    name: str
    size: int


class Nop(Value):
    """No code, only padding."""


class Keep(Value):
    """The original instructions."""


class Bug(Value):
    """Stop with this message."""

    message: str


class Query(Value):
    """Query a ROM."""

    rom: str
    argument: int


class Copy(Value):
    """Copy the bytes that two fields describe."""

    address: str
    size: str | int
    relocated: bool
    throughout: bool


Action: TypeAlias = Assembly | RawBytes | Branch | Aim | Store | Nop | Keep | Bug | Query | Copy


class Arm(Value):
    """One arm. `clobbers` are register names, `mask` their bits; `symbols` is what its code may name.

    Two arms are never equal, however alike: an arm is identified by its place in the spec.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    span: Span
    action: Action
    guard: Guard | None
    clobbers: frozenset[str]
    mask: int
    symbols: Mapping[str, Symbol]

    def guarded(self, guard: Guard | None) -> Arm:
        """The same arm with another guard."""
        return Arm(self.span, self.action, guard, self.clobbers, self.mask, self.symbols)

    @property
    def emits(self) -> bool:
        """Whether the arm's outcome is code, which may be too long or clobber too much."""
        return isinstance(self.action, Assembly | RawBytes | Branch | Nop)


Chain: TypeAlias = tuple[Arm, ...]


class Op(Value):
    """One op: its number in each configuration in which it exists, and its calling contract (registers).

    `result_bytes`: for each result register, the bytes that the op promises: all, except for a part such as `al`.
    """

    name: str
    span: Span
    numbers: Mapping[Configuration, int]
    inputs: frozenset[str]
    results: frozenset[str]
    clobbers: frozenset[str]
    noreturn: bool
    length: int | None
    length_span: Span | None
    result_bytes: Mapping[str, frozenset[int]]


class Part(Value):
    """A part of the machine's state: a register, `interrupt_flag` or a control register; or one bit of it."""

    name: str
    bit: int | None


class Effect(Value):
    """`target` gets the value that `value` had before, or that number."""

    target: Part
    value: Part | int


class Meaning(Value):
    """What an op does in every backend: reference code (an arm that is in no chain), or effects."""

    span: Span
    code: Arm | None
    effects: tuple[Effect, ...]


class Shadow(Value):
    """A backend's copy of a part of the machine: while it is 1, the operand holds `number`, or has one of its bits.

    Two shadows are never equal, just as arms.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    span: Span
    name: str
    operand: ast.Text
    symbols: Mapping[str, Symbol]
    number: int
    bits: bool
    guard: Guard | None


class Names(Value):
    """Options with their defaults, symbols, and protected functions of one part of a spec."""

    options: Mapping[str, bool]
    symbols: Mapping[str, Symbol]
    protects: tuple[str, ...]


class Interface(Value):
    """What sites and backends agree on; `functions` is the symbol of the kernel's table of functions."""

    name: str
    span: Span
    layout: Layout | None
    max_len: int
    slots: tuple[Slot, ...]
    functions: str | None
    clobbers: Mapping[str, int]
    names: Names
    ops: Mapping[str, Op]
    meanings: Mapping[str, Meaning] = Map()

    def configurations(self) -> list[Configuration]:
        """All settings of the options, the default first."""
        settings: list[Configuration] = [()]
        for default in self.names.options.values():
            settings = [(*head, value) for value in (default, not default) for head in settings]
        return settings


class Answer(Value):
    """What a ROM's answer means."""

    name: str
    chain: Chain


class Rom(Value):
    """A ROM query."""

    name: str
    layout: Layout
    answers: Mapping[int, Answer]
    otherwise: Chain

    def chains(self) -> Iterator[Chain]:
        """All its chains."""
        yield from (answer.chain for answer in self.answers.values())
        yield self.otherwise


class Rule(Value):
    """What one backend does with some ops."""

    span: Span
    ops: tuple[Op, ...]
    chain: Chain


class Backend(Value):
    """An implementation of the ops; `otherwise` is for the ops without a rule."""

    name: str
    span: Span
    rules: tuple[Rule, ...]
    otherwise: Rule | None
    names: Names
    roms: Mapping[str, Rom]
    targets: tuple[Target, ...]
    shadows: tuple[Shadow, ...] = ()

    def chains(self) -> Iterator[Chain]:
        """All its chains, those of its ROMs first."""
        for rom in self.roms.values():
            yield from rom.chains()
        for rule in (*self.rules, *([self.otherwise] if self.otherwise else [])):
            yield rule.chain

    def answers(self) -> dict[str, Chain]:
        """The arms for each op."""
        rules = [*self.rules, *([self.otherwise] if self.otherwise else [])]
        return {op.name: rule.chain for rule in reversed(rules) for op in rule.ops}


class Family(Value):
    """Other sites, and their rule. `length`: in bytes, if the record lacks it; `decoded`: the code at the site says."""

    name: str
    span: Span
    layout: Layout
    length: int | None
    decoded: bool
    place: tuple[str, int]
    stacked: bool
    longest: bool
    relaid: bool
    throughout: bool
    reads: Mapping[str, Read]
    names: Names
    rule: Chain


class Spec(Value):
    """All that a compilation covers."""

    machine: Architecture
    interface: Interface | None
    chains: Mapping[str, Chain]
    backends: Mapping[str, Backend]
    families: Mapping[str, Family]
    passes: tuple[str, ...]
    policy: tuple[Decide, ...]
    command_line: CommandLine
    configs: Mapping[str, Guard]
    probes: frozenset[str]
    tests: tuple[ast.Test, ...]
    sources: tuple[Source, ...]
    text: tuple[int, int] | None = None  # where sites and functions may be
    nops: Mapping[str, tuple[Span, ...]] = Map()  # where the entries of each nop table are declared

    def references(self) -> Iterator[Arm]:
        """The code that meanings refer to, each once."""
        meanings = self.interface.meanings.values() if self.interface is not None else ()
        yield from {id(meaning.code): meaning.code for meaning in meanings if meaning.code is not None}.values()

    def arms(self) -> Iterator[Arm]:
        """Every arm once, in the order of the spec."""
        seen: dict[int, Arm] = {}
        for chain in self._chains():
            for arm in chain:
                seen.setdefault(id(arm), arm)
        yield from seen.values()

    def _chains(self) -> Iterator[Chain]:
        yield from self.chains.values()
        for backend in self.backends.values():
            yield from backend.chains()
        for family in self.families.values():
            yield family.rule
