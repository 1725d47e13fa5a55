"""Patch rules as data, and what can go wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Guard: TypeAlias = tuple[Any, ...]


class PatchError(Exception):
    """A site, table or binding with which nothing was patched."""


class PatchBug(PatchError):
    """A `bug` arm was reached: where the kernel has a BUG_ON."""


class BindError(PatchError):
    """A rule asks for a target, symbol, rom or the like that was not bound."""


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


@dataclass(frozen=True)
class Arm:
    """One arm of a chain: where it stands in the spec, and when it is tried."""

    where: str
    guard: Guard | None = None


@dataclass(frozen=True)
class Code(Arm):
    """Emits these bytes; none at all is the spec's `nop`. `clobbers` is a mask of registers."""

    data: bytes = b""
    holes: tuple[Hole, ...] = ()
    clobbers: int = 0


@dataclass(frozen=True)
class Keep(Arm):
    """Leaves the original instructions."""


@dataclass(frozen=True)
class Bug(Arm):
    """Stops all patching."""

    message: str = ""


@dataclass(frozen=True)
class Query(Arm):
    """Asks a ROM with this argument and goes on with the chain of its answer."""

    rom: str = ""
    argument: int = 0


@dataclass(frozen=True)
class Copy(Arm):
    """Copies the bytes that two fields of the record describe: their address and their count."""

    address: str = ""
    size: str = ""
    relocated: bool = False


Chain: TypeAlias = tuple[Arm, ...]


class Field(NamedTuple):
    """A field of a record: `bits` wide at bit `at`; a relative one is signed and counts from its own address."""

    name: str
    at: int
    bits: int
    relative: bool = False


@dataclass(frozen=True)
class Layout:
    """A table's section, bytes a record, and its fields.

    The last `slack` bytes of a record are padding, which may be cut off behind the last one. If `padded`,
    records of nothing but zero bytes are no records.
    """

    section: str
    size: int
    fields: tuple[Field, ...]
    slack: int = 0
    padded: bool = False


@dataclass(frozen=True)
class Names:
    """What a part of a spec wants bound: options with their defaults, symbols, protected functions."""

    options: Mapping[str, bool] = field(default_factory=dict)
    symbols: frozenset[str] = frozenset()
    protects: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rom:
    """A ROM query: the layout of the answer, and a chain for each of its types."""

    answer: Layout
    chains: Mapping[int, Chain]
    otherwise: Chain


@dataclass(frozen=True)
class Backend:
    """Who answers an interface's ops: chains by op name, else `otherwise`."""

    name: str
    rules: Mapping[str, Chain]
    otherwise: Chain
    names: Names = Names()
    roms: Mapping[str, Rom] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A table of sites other than an interface's, and the chain that patches each; `length` in bytes if fixed."""

    name: str
    layout: Layout
    rule: Chain
    length: int | None = None
    stacked: bool = False
    names: Names = Names()


class Slot(NamedTuple):
    """How an unpatched site names its op's slot: `prefix`, then the slot's address in `size` bytes.

    A relative address counts from the byte behind it.
    """

    prefix: bytes
    size: int
    relative: bool = False


@dataclass(frozen=True)
class Interface:
    """What sites and backends agree on.

    `clobbers`: register to bit. `numbers`: for each setting of the options (in order), op number to op name.
    """

    name: str
    layout: Layout
    max_len: int
    clobbers: Mapping[str, int]
    numbers: Mapping[tuple[bool, ...], Mapping[int, str]]
    noreturn: frozenset[str] = frozenset()
    names: Names = Names()
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Machine:
    """Address width, CPU features by number (`always`: of every CPU), nop tables, and how a kernel chooses one."""

    name: str
    bits: int
    features: Mapping[str, int]
    always: frozenset[int]
    nops: Mapping[str, tuple[bytes, ...]]
    choices: tuple[tuple[str, Guard | None], ...]


@dataclass(frozen=True)
class Spec:
    """Everything that one spec says."""

    machine: Machine
    interface: Interface | None
    backends: Mapping[str, Backend]
    families: Mapping[str, Family]
    passes: tuple[str, ...]
