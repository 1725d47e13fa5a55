"""The syntax tree: typed, positioned, unresolved.

One class a construct of `grammar/pvspec.lark`; names are still words and
numbers may lie outside every range. Every node carries the span it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pvspec.source import Span


@dataclass(frozen=True, slots=True)
class Node:
    """Something that stands at a place in a spec."""

    span: Span


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A word."""

    text: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A literal number, not negative."""

    value: int


@dataclass(frozen=True, slots=True)
class Truth(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A string's contents; `span` covers them without the quotes."""

    value: str


# ---- numbers that depend on options ----------------------------------------


@dataclass(frozen=True, slots=True)
class Product(Node):
    """Factors multiplied."""

    factors: tuple[Number | Name | Sum, ...]


@dataclass(frozen=True, slots=True)
class Sum(Node):
    """Products added, or subtracted where the sign is -1."""

    parts: tuple[tuple[int, Product], ...]


Expr: TypeAlias = Sum

# ---- guards ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnyOf(Node):
    """`or`."""

    parts: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class AllOf(Node):
    """`and`."""

    parts: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """`not`."""

    part: Guard


@dataclass(frozen=True, slots=True)
class TargetIs(Node):
    """`target is NAME`; the name `null` stands for address 0."""

    name: Name


@dataclass(frozen=True, slots=True)
class OpNoreturn(Node):
    """`op is noreturn`."""


@dataclass(frozen=True, slots=True)
class CpuHas(Node):
    """`cpu has NAME`: a feature, or a field holding a feature's number."""

    name: Name


@dataclass(frozen=True, slots=True)
class Cpus(Node):
    """`cpus == N`."""

    count: Number


@dataclass(frozen=True, slots=True)
class Within(Node):
    """`site within FIRST .. LAST`."""

    first: Name
    last: Name


@dataclass(frozen=True, slots=True)
class Equals(Node):
    """`FIELD == N`."""

    name: Name
    value: Number


@dataclass(frozen=True, slots=True)
class IsTrue(Node):
    """A bare option or field."""

    name: Name


Guard: TypeAlias = AnyOf | AllOf | Not | TargetIs | OpNoreturn | CpuHas | Cpus | Within | Equals | IsTrue

# ---- actions and chains ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asm(Node):
    """`asm "…"`."""

    source: Text


@dataclass(frozen=True, slots=True)
class Bytes(Node):
    """`bytes "…"`."""

    source: Text


@dataclass(frozen=True, slots=True)
class Branch(Node):
    """`call NAME` or `jmp NAME`."""

    mnemonic: str
    target: Name


@dataclass(frozen=True, slots=True)
class Nop(Node):
    """`nop`."""


@dataclass(frozen=True, slots=True)
class Keep(Node):
    """`keep`."""


@dataclass(frozen=True, slots=True)
class Bug(Node):
    """`bug "…"`."""

    message: Text


@dataclass(frozen=True, slots=True)
class Copy(Node):
    """`copy ADDRESS SIZE [relocated]`: both name fields."""

    address: Name
    size: Name
    relocated: bool


@dataclass(frozen=True, slots=True)
class ChainRef(Node):
    """The arms of a named chain."""

    name: Name


@dataclass(frozen=True, slots=True)
class Query(Node):
    """`ROM(NUMBER)`."""

    rom: Name
    argument: Number


Action: TypeAlias = Asm | Bytes | Branch | Nop | Keep | Bug | Copy | ChainRef | Query


@dataclass(frozen=True, slots=True)
class Arm(Node):
    """An action, what it may clobber, and when it is tried."""

    action: Action
    clobbers: tuple[Name, ...]
    guard: Guard | None


# ---- declarations ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Include(Node):
    """`include "…"`."""

    path: Text


@dataclass(frozen=True, slots=True)
class Feature(Node):
    """A CPU feature and its number; `always`: every CPU has it."""

    name: Name
    number: Expr
    always: bool


@dataclass(frozen=True, slots=True)
class Nops(Node):
    """A nop table: the nops of 1, 2, … bytes."""

    name: Name
    entries: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Choice(Node):
    """One arm of `choose nops`."""

    nops: Name
    guard: Guard | None


@dataclass(frozen=True, slots=True)
class Machine(Node):
    """`machine NAME { … }`."""

    name: Name
    bits: tuple[Number, ...]
    features: tuple[Feature, ...]
    nops: tuple[Nops, ...]
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Field(Node):
    """A field of a record; padding has the name None and a type `padN`, N bytes."""

    name: Name | None
    type: Name


@dataclass(frozen=True, slots=True)
class Table(Node):
    """A section of records."""

    section: Text
    padded: bool
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Slot(Node):
    """What an unpatched site begins with before the address of its op's slot."""

    prefix: Text
    type: Name


@dataclass(frozen=True, slots=True)
class ClobberBit(Node):
    """A register and its bit in the clobber mask."""

    name: Name
    mask: Number


@dataclass(frozen=True, slots=True)
class Option(Node):
    """Switches with one default."""

    names: tuple[Name, ...]
    default: Truth


@dataclass(frozen=True, slots=True)
class Symbol(Node):
    """Addresses bound per kernel; `clobbers` None: all the clobber registers."""

    names: tuple[Name, ...]
    clobbers: tuple[Name, ...] | None


@dataclass(frozen=True, slots=True)
class Protect(Node):
    """Functions that the poke itself runs."""

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Op(Node):
    """One op and its contract."""

    name: Name
    number: Expr
    inputs: tuple[Name, ...]
    results: tuple[Name, ...]
    clobbers: tuple[Name, ...]
    noreturn: bool
    length: Number | None
    guard: Guard | None


@dataclass(frozen=True, slots=True)
class Interface(Node):
    """`interface NAME on MACHINE { … }`."""

    name: Name
    machine: Name
    tables: tuple[Table, ...]
    max_lens: tuple[Number, ...]
    slots: tuple[Slot, ...]
    clobbers: tuple[ClobberBit, ...]
    options: tuple[Option, ...]
    symbols: tuple[Symbol, ...]
    protects: tuple[Protect, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """A named chain."""

    name: Name
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Rule(Node):
    """`OP, … = chain`."""

    ops: tuple[Name, ...]
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Otherwise(Node):
    """`otherwise = chain`."""

    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Answer(Node):
    """One answer of a rom and its chain."""

    number: Number
    name: Name
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Rom(Node):
    """A ROM query."""

    name: Name
    parameter: Name
    type: Name
    fields: tuple[Field, ...]
    answers: tuple[Answer, ...]
    otherwise: Otherwise


@dataclass(frozen=True, slots=True)
class Backend(Node):
    """`backend NAME for INTERFACE { … }`."""

    name: Name
    interface: Name
    options: tuple[Option, ...]
    symbols: tuple[Symbol, ...]
    roms: tuple[Rom, ...]
    rules: tuple[Rule, ...]
    otherwise: tuple[Otherwise, ...]


@dataclass(frozen=True, slots=True)
class Family(Node):
    """`family NAME on MACHINE { … }`."""

    name: Name
    machine: Name
    tables: tuple[Table, ...]
    lengths: tuple[Number, ...]
    stacked: bool
    options: tuple[Option, ...]
    symbols: tuple[Symbol, ...]
    protects: tuple[Protect, ...]
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Passes(Node):
    """The order of the tables."""

    names: tuple[Name, ...]


# ---- tests -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldValue(Node):
    """A field of the record under test; Text with an address: what the field points to."""

    name: Name
    value: Number | Name | Text
    address: Number | None = None


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """Something bound for one case; `kind` is the grammar rule's name without `set_`."""

    kind: str
    name: Name | None
    values: tuple[Number | Name | Truth, ...]


@dataclass(frozen=True, slots=True)
class Want(Node):
    """A piece of the expected outcome; `kind` is the grammar rule's name without `want_`."""

    kind: str
    value: Text | Number | None


@dataclass(frozen=True, slots=True)
class Case(Node):
    """One line of a test."""

    op: Name | None
    address: Number
    lengths: tuple[Number, ...]
    clobbers: tuple[tuple[Name, ...], ...]
    originals: tuple[Text, ...]
    fields: tuple[FieldValue, ...]
    settings: tuple[Setting, ...]
    wants: tuple[Want, ...]


@dataclass(frozen=True, slots=True)
class Test(Node):
    """`test NAME { … }`."""

    name: Name
    cases: tuple[Case, ...]


Item: TypeAlias = Include | Machine | Interface | Chain | Backend | Family | Passes | Test


@dataclass(frozen=True, slots=True)
class File:
    """One parsed file."""

    items: tuple[Item, ...]
