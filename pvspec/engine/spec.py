"""A spec as one immutable value: tables, rules, decisions. What patches, predicts and proves works on this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pvspec.engine.command_line import CommandLine
from pvspec.engine.guards import Guard
from pvspec.engine.value import Map, Value

ELSEWHERE = "elsewhere"
"""The name of what only the running kernel knows: where a branch leads, or what memory it reads."""


class Hole(NamedTuple):
    """A field of an emitter's code, filled when a site is patched; offset, size and end in bytes.

    The value is the address `symbol` + `addend`; a relative field holds its distance from the next
    instruction, which starts at offset `end`. The CPU sign-extends a `signed` field.
    """

    offset: int
    size: int
    symbol: str
    addend: int = 0
    relative: bool = False
    end: int = 0
    signed: bool = False


class Rule(Value):
    """What all arms of a chain have: their place in the spec (FILE:LINE), and when they are tried."""

    where: str
    guard: Guard | None = None


class Code(Rule):
    """Emits these bytes; none at all is the spec's `nop`. `clobbers` is a mask of registers."""

    data: bytes = b""
    holes: tuple[Hole, ...] = ()
    clobbers: int = 0


class Keep(Rule):
    """Leaves the original instructions."""


class Bug(Rule):
    """Stops all patching."""

    message: str = ""


class Query(Rule):
    """Asks a ROM with this argument and goes on with the chain of its answer."""

    rom: str = ""
    argument: int = 0


class Aim(Rule):
    """Aims the branch that the site holds at a symbol, a field or a read: prefix, opcode and condition stay."""

    name: str = ""


class Store(Rule):
    """Writes the value of a read, in so many bytes."""

    name: str = ""
    size: int = 0


class Copy(Rule):
    """Copies so many bytes from an address: a field or a symbol, and a field or a number.

    `relocated`: a call or jump that is all of it is aimed anew; `throughout`: all that leaves the copy.
    """

    address: str = ""
    size: str | int = ""
    relocated: bool = False
    throughout: bool = False


Arm: TypeAlias = Code | Keep | Bug | Query | Aim | Store | Copy
"""One arm of a chain."""

Chain: TypeAlias = tuple[Arm, ...]


class Field(NamedTuple):
    """A field of a record: `bits` wide at bit `at`, its value shifted left by `shift`.

    A relative one is signed and counts from its own address.
    """

    name: str
    at: int
    bits: int
    relative: bool = False
    shift: int = 0


class Layout(Value):
    """A table's section, bytes a record, and its fields.

    The last `slack` bytes of a record are padding, which may be cut off after the last one. If `padded`,
    records of nothing but zero bytes are no records. `bounds` are the symbols around a table that is no section.
    `patterns`: there is no table; each symbol that matches the field `site`'s pattern makes a record, with `*` standing
    for the same in the other fields'.
    """

    section: str
    size: int
    fields: tuple[Field, ...]
    slack: int = 0
    padded: bool = False
    bounds: tuple[str, str] | None = None
    patterns: Mapping[str, str] = Map()


class Names(Value):
    """What a part of a spec wants bound: options with their defaults, symbols, protected functions."""

    options: Mapping[str, bool] = Map()
    symbols: frozenset[str] = frozenset()
    protects: frozenset[str] = frozenset()


class Rom(Value):
    """A ROM query: the layout of the answer, and a chain for each of its types."""

    answer: Layout
    chains: Mapping[int, Chain]
    otherwise: Chain


class Target(Value):
    """What a hypervisor puts into the slots of these ops: a symbol's address, or null.

    `table`: the words that these ops have in another table of functions, which lies at the symbol.
    """

    ops: tuple[str, ...]
    symbol: str | None
    table: bool = False
    guard: Guard | None = None


class Backend(Value):
    """Who answers an interface's ops: chains by op name, else `otherwise`; `targets`: the last that holds counts."""

    name: str
    rules: Mapping[str, Chain]
    otherwise: Chain
    names: Names = Names()
    roms: Mapping[str, Rom] = Map()
    targets: tuple[Target, ...] = ()


class Read(NamedTuple):
    """A value in memory, which the kernel changes as it runs: `size` bytes at `base` + `offset`.

    `base` is a field of the record, or a symbol. Without a size: where the call or jump leads that lies there.
    `built`: what the image has there, before the kernel runs.
    """

    base: str
    offset: int = 0
    size: int = 0
    signed: bool = False
    built: bool = False


class Family(Value):
    """A table of sites other than an interface's, and the chain that patches each.

    `length` in bytes if fixed, `decoded`: that of the instruction at the site. `place`: the field or read, and the
    bytes after it, where the site is. `stacked`: several records may name one site; `longest`: those that follow
    each other have the longest one's length. `relaid`: runs of one-byte nops at a site become longest nops;
    `throughout`: of any nops.
    """

    name: str
    layout: Layout
    rule: Chain
    length: int | None = None
    decoded: bool = False
    place: tuple[str, int] = ("site", 0)
    stacked: bool = False
    longest: bool = False
    relaid: bool = False
    throughout: bool = False
    reads: Mapping[str, Read] = Map()
    names: Names = Names()


class Slot(NamedTuple):
    """How an unpatched site names its op's slot: `prefix`, then the slot's address in `size` bytes.

    A relative address counts from the byte after it.
    """

    prefix: bytes
    size: int
    relative: bool = False


class Interface(Value):
    """What sites and backends agree on.

    `clobbers`: register to bit. `numbers`: for each setting of the options (in order), op number to op name.
    `functions`: the symbol of the kernel's table of functions. There may be no table of sites.
    """

    name: str
    layout: Layout | None
    max_len: int
    clobbers: Mapping[str, int]
    numbers: Mapping[tuple[bool, ...], Mapping[int, str]]
    noreturn: frozenset[str] = frozenset()
    names: Names = Names()
    slots: tuple[Slot, ...] = ()
    functions: str | None = None


class Architecture(Value):
    """What a spec's `machine` block says.

    Address width in bits, CPU features by number (`always`: of every CPU), nop tables, and how a kernel chooses one:
    the first choice whose guard holds. `shown`: numbers by the names of /proc/cpuinfo. A decision that no record names
    has a negative number. `jumps`: the nop tables beyond whose longest nop there is a jump.
    """

    name: str
    bits: int
    features: Mapping[str, int]
    always: frozenset[int]
    nops: Mapping[str, tuple[bytes, ...]]
    choices: tuple[tuple[str, Guard | None], ...]
    shown: Mapping[str, int] = Map()
    jumps: frozenset[str] = frozenset()


class Cpu(NamedTuple):
    """What a CPU calls itself: vendor as /proc/cpuinfo has it, and numbers.

    `microcode`: the revision; `threads`: of one core, 2 or more with SMT; None where they are not known.
    """

    vendor: str
    family: int
    model: int
    stepping: int
    microcode: int | None = None
    threads: int | None = None


# ---- what a kernel decides


class Step(Value):
    """What all steps of a decision have: their place in the spec (FILE:LINE)."""

    where: str


class Let(Step):
    """Gives a condition, as it is now, a name."""

    name: str
    guard: Guard


class Decision(Step):
    """These features are set, or cleared, if the guard holds; `unless_told`: but for those that the user named."""

    sets: bool
    features: tuple[int, ...]
    guard: Guard | None = None
    unless_told: bool = False


class Listed(Step):
    """Sets, or clears, what the command line lists for a word: features by the names of /proc/cpuinfo or by number.

    `numbers`: by number only, up to the first that is none.
    """

    sets: bool
    numbers: bool
    word: str


class Assign(Step):
    """A variable of the kernel gets a value, if the guard holds."""

    variable: str
    value: str | int
    guard: Guard | None = None


class OpenFact(Step):
    """Features that no file of a running machine shows, if the guard holds; `source`: who could tell.

    `likely`: until somebody does, they are taken to be there.
    """

    features: tuple[int, ...]
    likely: bool
    source: str
    guard: Guard | None = None


class Conditional(Step):
    """The guard is asked once, and one list of steps done."""

    guard: Guard
    then: tuple[Steps, ...]
    otherwise: tuple[Steps, ...] = ()


Steps: TypeAlias = Let | Decision | Listed | Assign | OpenFact | Conditional


class Decide(Value):
    """What one of the kernel's functions decides; `file` is the kernel's."""

    name: str
    file: str
    steps: tuple[Steps, ...]


class Spec(Value):
    """Everything that one spec says.

    `policy`: what a kernel decides about itself, in its order, with the variables of `command_line`. `configs`: how a
    kernel shows what it was configured with. `probes` are symbols by which a spec knows how a kernel was configured.
    """

    machine: Architecture
    interface: Interface | None
    backends: Mapping[str, Backend]
    families: Mapping[str, Family]
    passes: tuple[str, ...]
    policy: tuple[Decide, ...] = ()
    command_line: CommandLine = CommandLine()
    configs: Mapping[str, Guard] = Map()
    probes: frozenset[str] = frozenset()


def all_steps(policy: Sequence[Decide]) -> Iterator[Steps]:
    """All steps of a policy, those inside others after them."""
    left = [step for decide in reversed(policy) for step in reversed(decide.steps)]
    while left:
        step = left.pop()
        yield step
        if isinstance(step, Conditional):
            left += reversed((*step.then, *step.otherwise))


def policy_guards(policy: Sequence[Decide]) -> Iterator[Guard]:
    """All guards of a policy, in its order."""
    return (step.guard for step in all_steps(policy) if not isinstance(step, Listed) and step.guard is not None)
