"""A checked spec: names resolved, numbers in range, records laid out. That it exists is the proof.

Layouts, guards and the machine are already those of the runtime; code is still
source text, for `assemble` to turn into bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pvspec import syntax as ast
from pvspec.runtime.rules import Guard, Layout
from pvspec.runtime.rules import Machine as Machine
from pvspec.runtime.rules import Slot as Slot
from pvspec.source import Source, Span

Configuration: TypeAlias = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Symbol:
    """An address bound per kernel; calling it may destroy these registers."""

    name: str
    span: Span
    clobbers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Assembly:
    """Code in Intel syntax."""

    source: ast.Text


@dataclass(frozen=True, slots=True)
class RawBytes:
    """Code given in bytes; `partial`: not whole instructions, as where a family's site is a part of one."""

    source: ast.Text
    data: bytes
    partial: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """`call` or `jmp` to a symbol, the op's `target` or a field of a rom's answer."""

    mnemonic: str
    symbol: str
    span: Span


@dataclass(frozen=True, slots=True)
class Nop:
    """No code: the padding is all."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The original instructions."""


@dataclass(frozen=True, slots=True)
class Bug:
    """Stop with this message."""

    message: str


@dataclass(frozen=True, slots=True)
class Query:
    """Ask a rom."""

    rom: str
    argument: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy the bytes that two fields describe."""

    address: str
    size: str
    relocated: bool


Action: TypeAlias = Assembly | RawBytes | Branch | Nop | Keep | Bug | Query | Copy


@dataclass(frozen=True, eq=False)
class Arm:
    """One arm. `clobbers` are register names, `mask` their bits; `symbols` is what its code may name."""

    span: Span
    action: Action
    guard: Guard | None
    clobbers: frozenset[str]
    mask: int
    symbols: Mapping[str, Symbol]

    @property
    def emits(self) -> bool:
        """Whether the arm's outcome is code, which may be too long or clobber too much."""
        return isinstance(self.action, Assembly | RawBytes | Branch | Nop)


Chain: TypeAlias = tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One op: its number in each configuration in which it exists, and its calling contract (registers)."""

    name: str
    span: Span
    numbers: Mapping[Configuration, int]
    inputs: frozenset[str]
    results: frozenset[str]
    clobbers: frozenset[str]
    noreturn: bool
    length: int | None
    length_span: Span | None


@dataclass(frozen=True, slots=True)
class Names:
    """Options with their defaults, symbols, and protected functions of one part of a spec."""

    options: Mapping[str, bool]
    symbols: Mapping[str, Symbol]
    protects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """What sites and backends agree on."""

    name: str
    span: Span
    layout: Layout
    max_len: int
    slots: tuple[Slot, ...]
    clobbers: Mapping[str, int]
    names: Names
    ops: Mapping[str, Op]

    def configurations(self) -> list[Configuration]:
        """All settings of the options, the default first."""
        settings: list[Configuration] = [()]
        for default in self.names.options.values():
            settings = [(*head, value) for value in (default, not default) for head in settings]
        return settings


@dataclass(frozen=True, slots=True)
class Answer:
    """What a rom's answer means."""

    name: str
    chain: Chain


@dataclass(frozen=True, slots=True)
class Rom:
    """A ROM query."""

    name: str
    layout: Layout
    answers: Mapping[int, Answer]
    otherwise: Chain

    def chains(self) -> Iterator[Chain]:
        """All its chains."""
        yield from (answer.chain for answer in self.answers.values())
        yield self.otherwise


@dataclass(frozen=True, slots=True)
class Rule:
    """What one backend makes of some ops."""

    span: Span
    ops: tuple[Op, ...]
    chain: Chain


@dataclass(frozen=True, slots=True)
class Backend:
    """Who answers the ops, and how; `otherwise` answers the ops without a rule (`rest`)."""

    name: str
    span: Span
    rules: tuple[Rule, ...]
    otherwise: Rule | None
    names: Names
    roms: Mapping[str, Rom]


@dataclass(frozen=True, slots=True)
class Family:
    """Another table of sites, and its rule; `length` in bytes if the record has none."""

    name: str
    span: Span
    layout: Layout
    length: int | None
    stacked: bool
    names: Names
    rule: Chain


@dataclass(frozen=True, slots=True)
class Spec:
    """All that one compilation says."""

    machine: Machine
    interface: Interface | None
    chains: Mapping[str, Chain]
    backends: Mapping[str, Backend]
    families: Mapping[str, Family]
    passes: tuple[str, ...]
    tests: tuple[ast.Test, ...]
    sources: tuple[Source, ...]

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
            for rom in backend.roms.values():
                yield from rom.chains()
            for rule in (*backend.rules, *([backend.otherwise] if backend.otherwise else [])):
                yield rule.chain
        for family in self.families.values():
            yield family.rule
