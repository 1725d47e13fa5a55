"""The syntax tree: typed, positioned, unresolved.

One class per construct of `grammar/pvspec.lark`; names are still words and
numbers may be out of range. Every node carries its span.
"""

from __future__ import annotations

from typing import TypeAlias

from pvspec.engine.value import Value
from pvspec.lang.source import Span


class Node(Value):
    """A construct, and where it is in the spec."""

    span: Span


class Name(Node):
    """A word."""

    text: str


class Number(Node):
    """A literal number, not negative."""

    value: int


class Truth(Node):
    """`true` or `false`."""

    value: bool


class Text(Node):
    """A string's contents; `span` covers them without the quotes."""

    value: str


# ---- numbers that depend on options ----------------------------------------


class Product(Node):
    """Factors multiplied."""

    factors: tuple[Number | Name | Sum, ...]


class Sum(Node):
    """Products added, or subtracted where the sign is -1."""

    parts: tuple[tuple[int, Product], ...]


Expr: TypeAlias = Sum

# ---- guards ----------------------------------------------------------------


class AnyOf(Node):
    """`or`."""

    parts: tuple[Guard, ...]


class AllOf(Node):
    """`and`."""

    parts: tuple[Guard, ...]


class Not(Node):
    """`not`."""

    part: Guard


class TargetIs(Node):
    """`target is NAME`; the name `null` means address 0."""

    name: Name


class OpTargetIs(Node):
    """`target of OP is NAME`."""

    op: Name
    name: Name


class OpNoreturn(Node):
    """`op is noreturn`."""


class CpuHas(Node):
    """`cpu has NAME`: a feature, or a field holding a feature's number."""

    name: Name


class CpuVendor(Node):
    """`cpu vendor is NAME`."""

    name: Name


class CpuNumber(Node):
    """`cpu family >= N` and the like; `what` is family, model, stepping, microcode or threads."""

    what: str
    compare: str
    value: Number


class Cpus(Node):
    """`cpus == N` and the like."""

    compare: str
    count: Number


class HasConfig(Node):
    """`config NAME`."""

    name: Name


class KernelHas(Node):
    """`kernel has SYMBOL`."""

    name: Name


class Vulnerability(Node):
    """`vulnerability NAME starts "…"`, or `contains`."""

    name: Name
    how: str
    text: Text


class BackendIs(Node):
    """`backend is NAME`."""

    name: Name


class NopsIs(Node):
    """`nops is NAME`."""

    name: Name


class Within(Node):
    """`NAME within FIRST .. LAST`; the name may be `site`."""

    name: Name
    first: Name
    last: Name


class Branches(Node):
    """`site is call NAME` or `site is jmp NAME`; `prefixed`: after a cs prefix, `short`: with 8 bits."""

    prefixed: bool
    mnemonic: str
    short: bool
    name: Name


class Begins(Node):
    """`NAME ± N begins "…"`; the name may be `site`, a digit `?`."""

    name: Name
    addend: int
    code: Text


class Compares(Node):
    """`NAME == N` and the like: a field, a read, or a variable."""

    name: Name
    compare: str
    value: Number


class BitsOf(Node):
    """`NAME ± N & M`; the name may be `site`."""

    name: Name
    addend: int
    mask: Number


class IsName(Node):
    """`FIELD is NAME`, a symbol, field or read, where `null` means address 0; or `VARIABLE is NAME`, its value."""

    subject: Name
    name: Name


class IsTrue(Node):
    """A bare option, condition, field or read."""

    name: Name


Guard: TypeAlias = (
    AnyOf
    | AllOf
    | Not
    | TargetIs
    | OpTargetIs
    | OpNoreturn
    | CpuHas
    | CpuVendor
    | CpuNumber
    | Cpus
    | HasConfig
    | KernelHas
    | Vulnerability
    | BackendIs
    | NopsIs
    | Within
    | Branches
    | Begins
    | Compares
    | BitsOf
    | IsName
    | IsTrue
)

# ---- actions and chains ----------------------------------------------------


class Asm(Node):
    """`asm "…"`."""

    source: Text


class Bytes(Node):
    """`bytes "…"`."""

    source: Text


class Branch(Node):
    """`call NAME` or `jmp NAME`, or to so many bytes after it; `prefixed`: after cs, `short`: with 8 bits."""

    mnemonic: str
    target: Name
    addend: int
    prefixed: bool
    short: bool


class Aim(Node):
    """`aim NAME`."""

    target: Name


class Store(Node):
    """`store NAME`."""

    name: Name


class Nop(Node):
    """`nop`."""


class Keep(Node):
    """`keep`."""


class Bug(Node):
    """`bug "…"`."""

    message: Text


class Copy(Node):
    """`copy ADDRESS SIZE [relocated [throughout]]`."""

    address: Name
    size: Name | Number
    relocated: bool
    throughout: bool


class ChainRef(Node):
    """The arms of a named chain."""

    name: Name


class Query(Node):
    """`ROM(NUMBER)`."""

    rom: Name
    argument: Number


Action: TypeAlias = Asm | Bytes | Branch | Aim | Store | Nop | Keep | Bug | Copy | ChainRef | Query


class Arm(Node):
    """An action, what it may clobber, and when it applies."""

    action: Action
    clobbers: tuple[Name, ...]
    guard: Guard | None


# ---- declarations ----------------------------------------------------------


class Include(Node):
    """`include "…"`."""

    path: Text


class Feature(Node):
    """A CPU feature, its number and its name in /proc/cpuinfo; `always`: every CPU has it."""

    name: Name
    number: Expr | None
    shown: Text | None
    always: bool


class Nops(Node):
    """A nop table: the nops of 1, 2, … bytes; `jumps`: what is longer is jumped over."""

    name: Name
    entries: tuple[Text, ...]
    jumps: bool


class TextRange(Node):
    """`text FIRST .. END`: where sites and functions may be."""

    start: Number
    end: Number


class Constant(Node):
    """`number NAME = N`: a number with a name."""

    name: Name
    value: Number


class Choice(Node):
    """One arm of `choose nops`."""

    nops: Name
    guard: Guard | None


class Kernels(Node):
    """`kernels VERSION, …`, on these machines, or on each."""

    versions: tuple[Version, ...]
    machines: tuple[Name, ...]


class Version(Node):
    """A kernel's version: two numbers, or three."""

    numbers: tuple[int, ...]


class Config(Node):
    """`config NAME = …`: how a kernel shows what it was configured with."""

    name: Name
    guard: Guard | bool


class Machine(Node):
    """`machine NAME, … { … }`; blocks of one machine add up."""

    names: tuple[Name, ...]
    bits: tuple[Number, ...]
    features: tuple[Feature, ...]
    nops: tuple[Nops, ...]
    choices: tuple[Choice, ...]
    texts: tuple[TextRange, ...] = ()
    constants: tuple[Constant, ...] = ()


# ---- the command line


class Variable(Node):
    """`variable NAME = DEFAULT { VALUE, … }`, or a number: then without values."""

    name: Name
    default: Name | Number
    values: tuple[Name, ...]


class Assignment(Node):
    """`VARIABLE = VALUE`."""

    variable: Name
    value: Name | Number


class ParameterValue(Node):
    """A value of a word, None for any other, and what it sets; None: its variable to the value of that name."""

    text: Text | None
    sets: tuple[Assignment, ...] | None


class Parameter(Node):
    """A word of the command line.

    `parser`: early_param, setup, find_option or find_option_bool. `kind`: "values", "list" (values with commas between
    them), "flag" (whatever its value, `sets`), "number", "least" (number) or "features".
    """

    parser: str
    word: Text
    kind: str
    variable: Name | None
    values: tuple[ParameterValue, ...]
    sets: tuple[Assignment, ...]


class Harmless(Node):
    """Words that change no text."""

    words: tuple[Text, ...]


class CommandLine(Node):
    """`cmdline { … }`."""

    variables: tuple[Variable, ...]
    parameters: tuple[Parameter, ...]
    harmless: tuple[Harmless, ...]


# ---- what a kernel decides


class Let(Node):
    """`let NAME = …`."""

    name: Name
    guard: Guard | bool


class Decision(Node):
    """`set A, B when …` or `clear …`; `unless_told`: but for what the user told."""

    sets: bool
    features: tuple[Name, ...]
    unless_told: bool
    guard: Guard | None


class Listed(Node):
    """`set listed "WORD"`, or `clear`; `numbers`: by number only."""

    sets: bool
    numbers: bool
    word: Text


class Assign(Node):
    """`VARIABLE = VALUE when …`."""

    variable: Name
    value: Name | Number
    guard: Guard | None


class OpenFact(Node):
    """`open A, B [likely] from "WHO COULD TELL" when …`."""

    features: tuple[Name, ...]
    likely: bool
    source: Text
    guard: Guard | None


class Conditional(Node):
    """`if … { … } else { … }` of steps."""

    guard: Guard
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]


Step: TypeAlias = Let | Decision | Listed | Assign | OpenFact | Conditional


class Decide(Node):
    """`decide FUNCTION in "FILE" { … }`."""

    name: Name
    file: Text
    steps: tuple[Step, ...]


class Elsewhere(Node):
    """A function that another kernel has, and this one has not."""

    name: Name


class Policy(Node):
    """`policy { FUNCTION, … }`: their order."""

    names: tuple[Name, ...]


# ---- the interface


class Field(Node):
    """A field of a record, shifted left; padding has the name None and a type `padN`, N bytes."""

    name: Name | None
    type: Name
    shift: Number | None


class Table(Node):
    """Records in a section, or between two symbols: then `section` is `FIRST .. LAST`."""

    section: Text
    bounds: tuple[Name, Name] | None
    padded: bool
    fields: tuple[Field, ...]


class Slot(Node):
    """What an unpatched site begins with, before the address of its op's slot."""

    prefix: Text
    type: Name


class Functions(Node):
    """`functions SYMBOL`."""

    name: Name


class ClobberBit(Node):
    """A register and its bit in the clobber mask."""

    name: Name
    mask: Number


class Option(Node):
    """Switches with one default."""

    names: tuple[Name, ...]
    default: Truth


class Symbol(Node):
    """Addresses bound per kernel; `clobbers` None means all clobber registers."""

    names: tuple[Name, ...]
    clobbers: tuple[Name, ...] | None


class Protect(Node):
    """Functions that the poke itself runs."""

    names: tuple[Name, ...]


class Op(Node):
    """One op and its contract."""

    name: Name
    number: Expr
    inputs: tuple[Name, ...]
    results: tuple[Name, ...]
    clobbers: tuple[Name, ...]
    noreturn: bool
    length: Number | Name | None
    guard: Guard | None


class Part(Node):
    """A part of the machine's state: a register or a flag, or one bit of it."""

    name: Name
    bit: Number | None


class Effect(Node):
    """`PART = PART` or `PART = NUMBER`."""

    target: Part
    value: Part | Number


class Meaning(Node):
    """`means OP, … : asm "…"`, or effects."""

    ops: tuple[Name, ...]
    code: Asm | None
    effects: tuple[Effect, ...]


class Interface(Node):
    """`interface NAME { … }`."""

    name: Name
    tables: tuple[Table, ...]
    max_lens: tuple[Number, ...]
    slots: tuple[Slot, ...]
    functions: tuple[Functions, ...]
    clobbers: tuple[ClobberBit, ...]
    options: tuple[Option, ...]
    symbols: tuple[Symbol, ...]
    protects: tuple[Protect, ...]
    ops: tuple[Op, ...]
    meanings: tuple[Meaning, ...] = ()
    constants: tuple[Constant, ...] = ()


class Chain(Node):
    """A named chain, and the symbols that it declares."""

    name: Name
    arms: tuple[Arm, ...]
    symbols: tuple[Symbol, ...]


class Rule(Node):
    """`OP, … = chain`."""

    ops: tuple[Name, ...]
    arms: tuple[Arm, ...]


class Otherwise(Node):
    """`otherwise = chain`."""

    arms: tuple[Arm, ...]


class Answer(Node):
    """One answer of a ROM and its chain."""

    number: Number
    name: Name
    arms: tuple[Arm, ...]


class Rom(Node):
    """A ROM query."""

    name: Name
    parameter: Name
    type: Name
    fields: tuple[Field, ...]
    answers: tuple[Answer, ...]
    otherwise: Otherwise


class OpRange(Node):
    """`OP`, `FIRST .. END` or `FIRST ..`."""

    first: Name
    is_range: bool
    end: Name | None


class Target(Node):
    """`target OP, … = SYMBOL`, or with `table` the ops' slots of a table at that symbol.

    Of a table an entry is one op, or a range: from the first up to, not including, the second, None: up to the last.
    """

    ops: tuple[OpRange, ...]
    symbol: Name
    table: bool
    guard: Guard | None


class Holds(Node):
    """What memory holds while a part is 1: just this number, or, if `bits`, some of its bits."""

    number: Number
    bits: bool


class Shadow(Node):
    """`keeps PART in "OPERAND" == N` or `… & N`."""

    name: Name
    operand: Text
    holds: Holds
    guard: Guard | None


class Backend(Node):
    """`backend NAME, … for INTERFACE { … }`, for one of the names."""

    name: Name
    interface: Name
    options: tuple[Option, ...]
    symbols: tuple[Symbol, ...]
    roms: tuple[Rom, ...]
    targets: tuple[Target, ...]
    rules: tuple[Rule, ...]
    otherwise: tuple[Otherwise, ...]
    shadows: tuple[Shadow, ...] = ()


class Relaid(Node):
    """`nops relaid [throughout]`."""

    throughout: bool


class Stacked(Node):
    """`stacked [longest]`."""

    longest: bool


class SitesOf(Node):
    """`sites "PATTERN" { FIELD "PATTERN" … }`: a record for each symbol that matches."""

    pattern: Text
    fields: tuple[tuple[Name, Text], ...]


class SiteAt(Node):
    """`site NAME ± N`."""

    name: Name
    addend: int


class SiteLen(Node):
    """`len N`, or None: the length of the instruction there."""

    value: Number | None


class Read(Node):
    """`reads NAME TYPE at NAME ± N`; the type is uN, sN or `branch`; `built`: as the image has it."""

    name: Name
    type: Name
    base: Name
    addend: int
    built: bool


class Family(Node):
    """`family NAME { … }`."""

    name: Name
    tables: tuple[Table, ...]
    sites_of: tuple[SitesOf, ...]
    site_at: tuple[SiteAt, ...]
    lengths: tuple[SiteLen, ...]
    stacked: tuple[Stacked, ...]
    relaid: tuple[Relaid, ...]
    reads: tuple[Read, ...]
    options: tuple[Option, ...]
    symbols: tuple[Symbol, ...]
    protects: tuple[Protect, ...]
    arms: tuple[Arm, ...]


class Passes(Node):
    """The order of the tables."""

    names: tuple[Name, ...]


# ---- tests -----------------------------------------------------------------


class FieldValue(Node):
    """A field of the record under test; Text with an address: what the field points to."""

    name: Name
    value: Number | Name | Text
    address: Number | None = None


class Memory(Node):
    """What is at an address; `running`: while the kernel runs, if the image has something else there."""

    contents: Text
    address: Number
    running: bool


class Setting(Node):
    """Something bound for one case; `kind` is the grammar rule's name without `set_`."""

    kind: str
    name: Name | None
    values: tuple[Number | Name | Truth | Text, ...]


class Want(Node):
    """A piece of the expected outcome; `kind` is the grammar rule's name without `want_`."""

    kind: str
    value: Text | Number | None


class Case(Node):
    """One line of a test."""

    op: Name | None
    address: Number
    lengths: tuple[Number, ...]
    clobbers: tuple[tuple[Name, ...], ...]
    originals: tuple[Text, ...]
    memory: tuple[Memory, ...]
    fields: tuple[FieldValue, ...]
    settings: tuple[Setting, ...]
    wants: tuple[Want, ...]


class Test(Node):
    """`test NAME { … }`."""

    name: Name
    cases: tuple[Case, ...]


Item: TypeAlias = (
    Include
    | Kernels
    | Config
    | Machine
    | CommandLine
    | Decide
    | Elsewhere
    | Policy
    | Interface
    | Chain
    | Backend
    | Family
    | Passes
    | Test
)


class File(Value):
    """One parsed file."""

    items: tuple[Item, ...]
