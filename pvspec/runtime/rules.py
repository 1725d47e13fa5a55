"""Patch rules as data, and what can go wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias, dataclass_transform

Guard: TypeAlias = tuple[Any, ...]

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass_transform(frozen_default=True)
class Value:
    """An immutable record: its fields are its annotations, a class attribute is a field's default.

    A frozen dataclass in all but what it costs to declare, 10 µs instead of 500 to 900: a generated module has
    some, and a compiler that starts anew for each spec has a hundred.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = (*cls._fields, *cls.__annotations__)
        setattr(cls, "__match_args__", cls._fields)  # noqa: B010 - mypy knows a read-only one

    def __init__(self, *values: Any, **named: Any) -> None:
        self.__dict__.update(zip(self._fields, values, strict=False))
        if named or len(values) != len(self._fields):
            self._complete(len(values), named)

    def _complete(self, count: int, named: dict[str, Any]) -> None:
        """Fill in the fields behind the first `count`: from the named ones, else with their defaults."""
        for name in self._fields[count:]:
            if name not in named and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
            self.__dict__[name] = named.pop(name) if name in named else getattr(type(self), name)
        if named or count > len(self._fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)} once each, nothing else")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def changed(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"


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


class Arm(Value):
    """One arm of a chain: where it stands in the spec, and when it is tried."""

    where: str
    guard: Guard | None = None


class Code(Arm):
    """Emits these bytes; none at all is the spec's `nop`. `clobbers` is a mask of registers."""

    data: bytes = b""
    holes: tuple[Hole, ...] = ()
    clobbers: int = 0


class Keep(Arm):
    """Leaves the original instructions."""


class Bug(Arm):
    """Stops all patching."""

    message: str = ""


class Query(Arm):
    """Asks a ROM with this argument and goes on with the chain of its answer."""

    rom: str = ""
    argument: int = 0


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


class Layout(Value):
    """A table's section, bytes a record, and its fields.

    The last `slack` bytes of a record are padding, which may be cut off behind the last one. If `padded`,
    records of nothing but zero bytes are no records. `bounds` are the symbols around a table that is no section.
    """

    section: str
    size: int
    fields: tuple[Field, ...]
    slack: int = 0
    padded: bool = False
    bounds: tuple[str, str] | None = None


class Names(Value):
    """What a part of a spec wants bound: options with their defaults, symbols, protected functions."""

    options: Mapping[str, bool] = NOTHING
    symbols: frozenset[str] = frozenset()
    protects: frozenset[str] = frozenset()


class Rom(Value):
    """A ROM query: the layout of the answer, and a chain for each of its types."""

    answer: Layout
    chains: Mapping[int, Chain]
    otherwise: Chain


class Backend(Value):
    """Who answers an interface's ops: chains by op name, else `otherwise`."""

    name: str
    rules: Mapping[str, Chain]
    otherwise: Chain
    names: Names = Names()
    roms: Mapping[str, Rom] = NOTHING


class Family(Value):
    """A table of sites other than an interface's, and the chain that patches each; `length` in bytes if fixed.

    `stacked`: several records may name one site. `relaid`: runs of one-byte nops at a site become longest nops.
    """

    name: str
    layout: Layout
    rule: Chain
    length: int | None = None
    stacked: bool = False
    relaid: bool = False
    names: Names = Names()


class Slot(NamedTuple):
    """How an unpatched site names its op's slot: `prefix`, then the slot's address in `size` bytes.

    A relative address counts from the byte behind it.
    """

    prefix: bytes
    size: int
    relative: bool = False


class Interface(Value):
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


class Machine(Value):
    """Address width, CPU features by number (`always`: of every CPU), nop tables, and how a kernel chooses one."""

    name: str
    bits: int
    features: Mapping[str, int]
    always: frozenset[int]
    nops: Mapping[str, tuple[bytes, ...]]
    choices: tuple[tuple[str, Guard | None], ...]


class Spec(Value):
    """Everything that one spec says."""

    machine: Machine
    interface: Interface | None
    backends: Mapping[str, Backend]
    families: Mapping[str, Family]
    passes: tuple[str, ...]
