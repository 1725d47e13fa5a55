"""The rules bound to one kernel, and the patch function for one site."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pvspec.runtime.lengths import instruction_length
from pvspec.runtime.records import fits, parse_records
from pvspec.runtime.rules import (
    BindError,
    Bug,
    Chain,
    Code,
    Guard,
    Hole,
    Keep,
    Names,
    PatchBug,
    PatchError,
    Query,
    Spec,
)
from pvspec.runtime.text import PACKS, Pack

K = TypeVar("K", int, str)
T = TypeVar("T")


class Row(NamedTuple):
    """What every site of one type, length and clobber mask becomes.

    `code` is the whole site, padded, of which the emitter used `used` bytes. Each of `relative` is
    (offset, bytes, value): that field holds value - address of the site. `where` is the rule's place in the spec.
    """

    code: bytes
    used: int
    relative: tuple[tuple[int, int, int], ...] = ()
    where: str = ""


REL32_REACH = 1 << 31  # bytes, without wrapping: where addresses wrap, `row` and `placed` say what is in reach

KEPT = Row(b"", -1)  # the original instructions stay

Way: TypeAlias = tuple[int, int, Pack, bytes, int | None, bytes]
"""A way to patch the sites of one type and length: (needs, used, pack, head, value, tail).

It is open to sites whose clobber mask has all of `needs`. `pack` takes a buffer, an offset and `head`; if `value` is
not None, then also a rel32, which is value - address of the site, and `tail`. The loops over sites unpack it: it is a
plain tuple because that takes a NamedTuple twice the time.
"""


class Patcher:
    """One kernel's values for a spec's names.

    `targets`: op number to function address, as in the kernel's own table of ops (0: no function).
    `symbols`: name to address. `options`: name to bool, where the default is not meant.
    `nops`: a nop table's name; without it the spec chooses, by `features` (names or numbers).
    `rom`: name to a function from the argument to the answer as the ROM returns it, an integer.
    `cpus`: processors in the machine. `protect`: name of a protected function to its addresses [start, end).
    BindError: the spec has no such backend, option, nop table or feature, or a value is no address of the machine;
    what a rule asks for and is not bound is missed when it asks.
    """

    def __init__(
        self,
        spec: Spec,
        backend: str | None = None,
        *,
        targets: Mapping[int, int] | None = None,
        symbols: Mapping[str, int] | None = None,
        options: Mapping[str, bool] | None = None,
        nops: str | None = None,
        rom: Mapping[str, Callable[[int], int]] | None = None,
        features: Iterable[str | int] = (),
        cpus: int | None = None,
        protect: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.spec = spec
        self.backend = None if backend is None else _pick(spec.backends, backend, "backend")
        self.targets = _addresses(spec, targets or {}, "the target of op")
        self.symbols = _addresses(spec, symbols or {}, "symbol")
        self.rom = dict(rom or {})
        self.cpus = cpus
        self.features = spec.machine.always | {_feature(spec, feature) for feature in features}
        self.protect = dict(protect or {})
        self.options = _options(self._parties(), options or {})
        self.nops = self._nop_table(nops)
        self._bits = spec.machine.bits
        self._clobber_mask = _clobber_mask(spec)
        self._ops = self._op_numbers()
        self._mask = (1 << self._bits) - 1
        self._ways: dict[tuple[int, int, bool], tuple[Way, ...]] = {}
        self._open: dict[int, dict[int, dict[int, Way]]] = {}  # by type, length and clobber mask
        self._nop_runs: dict[int, tuple[Pack, bytes]] = {}

    def patch(self, type: int, clobber: int, insnbuf: Any, addr: int, len: int) -> int:
        """Write the code for one site into `insnbuf`, which holds the original instructions; return the bytes used.

        `type` is the op's number, `clobber` the mask of dead registers, `addr` the site's address, `len` its
        length in bytes. Where the original instructions stay, `insnbuf` stays too, and the result is `len`.
        PatchError (PatchBug, BindError): nothing was written.
        """
        try:
            _, used, pack, head, value, tail = self._open[type][len][clobber]
        except KeyError:
            return self._patch_new(type, clobber, insnbuf, addr, len)
        if _size(insnbuf) < len or not 0 <= addr <= self._mask:
            raise self._misuse(insnbuf, addr, len)
        try:
            if value is None:
                pack(insnbuf, 0, head)
            elif -REL32_REACH <= value - addr < REL32_REACH:
                pack(insnbuf, 0, head, value - addr, tail)
            else:
                return self._patch_row(self.row(type, clobber, len), insnbuf, addr, len)
        except TypeError as error:
            raise PatchError(f"insnbuf cannot be written: {error}") from None
        return used

    def pad(self, insnbuf: Any, used: int, len: int) -> None:
        """Fill insnbuf[used:len] with nops, longest first; PatchError if there is no such part of it."""
        try:
            pack, nops = self._nop_runs[len - used]
        except KeyError:
            pack, nops = self._nop_run(used, len)
        if used < 0:
            raise PatchError(f"{used} bytes were used of a site of {len}")
        try:
            pack(insnbuf, used, nops)
        except (struct.error, TypeError) as error:
            raise PatchError(f"insnbuf cannot be padded from {used} to {len}: {error}") from None

    def padded(self, code: bytes, length: int) -> bytes:
        """The code, filled up with nops to `length` bytes, longest first."""
        count, rest = divmod(max(length - len(code), 0), len(self.nops))
        return code + self.nops[-1] * count + (self.nops[rest - 1] if rest else b"")

    def relaid(self, code: bytes) -> bytes:
        """The code with each run of one-byte nops laid anew, longest first; what does not decode ends the search.

        As Linux 6.1 arch/x86/kernel/alternative.c, optimize_nops(): a run begins where an instruction does.
        """
        laid, at, (one,) = bytearray(code), 0, self.nops[0]
        while at < len(laid):
            end = at
            while end < len(laid) and laid[end] == one:
                end += 1
            laid[at:end] = self.padded(b"", end - at)
            size = instruction_length(laid, end, self._bits) if end == at else 0
            if end == at and not size:
                break
            at = end + size
        return bytes(laid)

    def row(self, type: int, clobber: int, length: int) -> Row:
        """What sites of this type, clobber mask and length (bytes) become; PatchError if they cannot be patched."""
        if not 0 <= clobber <= self._clobber_mask:
            raise PatchError(f"a clobber mask of {clobber:#x}: it has {self._clobber_mask.bit_length()} bits")
        return next(row for needs, row in self._outcomes(type, length) if clobber & needs == needs)

    def ways(self, type: int, length: int, *, padded: bool = True) -> tuple[Way, ...]:
        """The ways to patch sites of this type and length (bytes), in the order in which they are tried.

        They write the whole site, or if not `padded` the bytes used. Where none is open to a site, `row` knows more:
        a ROM must be asked, the fields are not one rel32, or the site cannot be patched.
        """
        ways = self._ways.get((type, length, padded))
        if ways is None:
            ways = self._ways[type, length, padded] = self._find_ways(type, length, padded)
        return ways

    def asks(self, type: int) -> bool:
        """Whether a ROM is asked for this op: then each of its sites may get another answer."""
        return any(isinstance(arm, Query) for arm in self._rule(type))

    def choose(self, chain: Chain, clobber: int, length: int, site: Mapping[str, Any]) -> Row | None:
        """The row of the first arm that does not decline, None if all do; `site` as for `outcomes`."""
        rows = (row for needs, row in self.outcomes(chain, length, site) if clobber & needs == needs)
        return next(rows, None)

    def outcomes(self, chain: Chain, length: int, site: Mapping[str, Any]) -> Iterator[tuple[int, Row]]:
        """The arms that may decide a site of this length, in order: the mask that each clobbers, and its row.

        `site` holds what guards and holes may ask of a site: its record's fields, for an op its name and number.
        PatchError is raised where a site would have to stop patching.
        """
        for arm in chain:
            if arm.guard is not None and not self.holds(arm.guard, site):
                continue
            match arm:
                case Keep():
                    yield 0, KEPT
                case Bug():
                    raise PatchBug(f"{arm.where}: {arm.message}")
                case Query():
                    answer, answers = self._ask(arm)
                    yield from self.outcomes(answers, length, {**site, **answer})
                case Code() if len(arm.data) <= length:
                    yield arm.clobbers, self._fill(arm, length, site)

    def holds(self, guard: Guard, site: Mapping[str, Any]) -> bool:
        """Whether a guard is true of a site; BindError if it asks for something that is not bound."""
        match guard:
            case ("any", *parts):
                return any(self.holds(part, site) for part in parts)
            case ("all", *parts):
                return all(self.holds(part, site) for part in parts)
            case ("not", part):
                return not self.holds(part, site)
            case ("target", name):
                wanted: int = 0 if name is None else self.symbol(name)
                return self._target(site) == wanted
            case ("noreturn",):
                return self.spec.interface is not None and site[_OP] in self.spec.interface.noreturn
            case ("cpu", feature):
                return bool(feature in self.features)
            case ("cpu field", name):
                return bool(site[name] in self.features)
            case ("cpus", count):
                return bool(self._cpus() == count)
            case ("within", first, last):
                return self.symbol(first) <= int(site["site"]) < self.symbol(last)
            case ("branch", opcode, name):
                return self._branches(site["site"], site[CODE], opcode, name)
            case ("option", name):
                return self.options[name]
            case ("field", name):
                return bool(site[name])
            case ("equals", name, value):
                return bool(site[name] == value)
        raise PatchError(f"unknown guard {guard[0]}")

    def placed(self, row: Row, addr: int) -> bytes:
        """A row's code with the relative fields of a site at this address; PatchError if one is out of reach."""
        code = bytearray(row.code)
        for offset, size, value in row.relative:
            try:
                code[offset : offset + size] = self._cell(value - addr, size, True)
            except PatchError:
                raise PatchError(f"{row.where}: the target is out of reach from {addr:#x}") from None
        return bytes(code)

    def symbol(self, name: str) -> int:
        """A symbol's address; BindError if it is not bound."""
        if name not in self.symbols:
            raise BindError(f"symbol {name} is not bound")
        return self.symbols[name]

    def protected(self, names: Names) -> dict[str, tuple[int, int]]:
        """Where the protected functions lie; BindError if one is not bound."""
        for name in sorted(names.protects - set(self.protect)):
            raise BindError(f"the place of {name} is not bound; the poke runs it, so no site may lie there")
        return {name: self.protect[name] for name in sorted(names.protects)}

    # ---- one site

    def _patch_new(self, type: int, clobber: int, insnbuf: Any, addr: int, length: int) -> int:
        """As `patch`, for the first site of its like, or one to which no way is open."""
        row = self.row(type, clobber, length)
        for way in self.ways(type, length, padded=False):
            if clobber & way[0] == way[0]:
                self._open.setdefault(type, {}).setdefault(length, {})[clobber] = way
                return self.patch(type, clobber, insnbuf, addr, length)
        if len(insnbuf) < length or not 0 <= addr <= self._mask:
            raise self._misuse(insnbuf, addr, length)
        return self._patch_row(row, insnbuf, addr, length)

    def _find_ways(self, type: int, length: int, padded: bool) -> tuple[Way, ...]:
        found: list[Way] = []
        with suppress(PatchError):
            for needs, row in () if self.asks(type) else self._outcomes(type, length):
                if len(row.relative) > 1 or any(size != 4 for _, size, _ in row.relative):
                    break
                found.append(_way(needs, row, length, padded))
                if not needs:
                    break
        return tuple(found)

    def _misuse(self, insnbuf: Any, addr: int, length: int) -> PatchError:
        if not 0 <= addr <= self._mask:
            return PatchError(f"{addr:#x} is no {self._bits}-bit address")
        return PatchError(f"insnbuf holds {len(insnbuf)} bytes, the site has {length}")

    def _patch_row(self, row: Row, insnbuf: Any, addr: int, length: int) -> int:
        if row is KEPT:
            return length
        try:
            PACKS[row.used](insnbuf, 0, self.placed(row, addr)[: row.used])
        except TypeError as error:
            raise PatchError(f"insnbuf cannot be written: {error}") from None
        return row.used

    def _nop_run(self, used: int, length: int) -> tuple[Pack, bytes]:
        if used > length:
            raise PatchError(f"{used} bytes were used of a site of {length}")
        size = length - used
        self._nop_runs[size] = run = PACKS[size], self.padded(b"", size)
        return run

    def _outcomes(self, type: int, length: int) -> Iterator[tuple[int, Row]]:
        """As `outcomes`, for an op; the last arm is the unwritten `keep`."""
        interface, backend = self.spec.interface, self.backend
        if interface is None or backend is None:
            raise BindError("no backend is bound")
        if type not in self._ops:
            raise PatchError(f"{interface.name} has no op {type}")
        if not 0 <= length <= interface.max_len:
            raise PatchError(f"{length} bytes: a site holds 0 to {interface.max_len}")
        op = self._ops[type]
        try:
            yield from self.outcomes(self._rule(type), length, {_OP: op, _NUMBER: type})
        except PatchError as error:
            raise error.__class__(f"{backend.name}, op {op}: {error}") from None
        yield 0, KEPT

    def _rule(self, type: int) -> Chain:
        if self.backend is None or type not in self._ops:
            return ()
        return self.backend.rules.get(self._ops[type], self.backend.otherwise)

    # ---- what is bound

    def _parties(self) -> list[Names]:
        parties = [family.names for family in self.spec.families.values()]
        parties += [self.spec.interface.names] if self.spec.interface else []
        return parties + ([self.backend.names] if self.backend else [])

    def _op_numbers(self) -> Mapping[int, str]:
        interface = self.spec.interface
        if interface is None:
            return {}
        return interface.numbers[tuple(self.options[name] for name in interface.names.options)]

    def _nop_table(self, name: str | None) -> tuple[bytes, ...]:
        machine = self.spec.machine
        chosen = (n for n, guard in machine.choices if guard is None or self.holds(guard, {}))
        return _pick(machine.nops, name if name is not None else next(chosen, ""), "nop table")

    def _cpus(self) -> int:
        if self.cpus is None:
            raise BindError("the number of cpus is not bound")
        return self.cpus

    def _branches(self, site: int, code: bytes, opcode: int, name: str) -> bool:
        if len(code) < 5 or code[0] != opcode:
            return False
        return site + 5 + int.from_bytes(code[1:5], "little", signed=True) & self._mask == self.symbol(name)

    def _target(self, site: Mapping[str, Any]) -> int:
        if site[_NUMBER] not in self.targets:
            raise BindError(f"the target of op {site[_OP]} ({site[_NUMBER]}) is not bound")
        return self.targets[site[_NUMBER]]

    def _ask(self, query: Query) -> tuple[dict[str, int], Chain]:
        if self.backend is None or query.rom not in self.rom:
            raise BindError(f"rom {query.rom} is not bound")
        rom, word = self.backend.roms[query.rom], self.rom[query.rom](query.argument)
        if not fits(word, 8 * rom.answer.size, False):
            raise PatchError(f"{query.where}: rom {query.rom} answered {word:#x}, more than {rom.answer.size} bytes")
        (answer,) = parse_records(rom.answer, word.to_bytes(rom.answer.size, "little"))
        return answer, rom.chains.get(answer.pop("type"), rom.otherwise)

    # ---- fields

    def _fill(self, arm: Code, length: int, site: Mapping[str, Any]) -> Row:
        code, relative = bytearray(self.padded(arm.data, length)), []
        for hole in arm.holes:
            value = self._address(hole.symbol, site) + hole.addend
            if hole.relative:
                relative.append((hole.offset, hole.size, value - hole.end))
            else:
                code[hole.offset : hole.offset + hole.size] = self._absolute(hole, value, arm.where)
        return Row(bytes(code), len(arm.data), tuple(relative), arm.where)

    def _address(self, name: str, site: Mapping[str, Any]) -> int:
        if name == "target":
            return self._target(site)
        return int(site[name]) if name in site else self.symbol(name)

    def _absolute(self, hole: Hole, value: int, where: str) -> bytes:
        try:
            return self._cell(value, hole.size, hole.signed)
        except PatchError as error:
            raise PatchError(f"{where}: {hole.symbol}: {error}") from None

    def _cell(self, value: int, size: int, signed: bool) -> bytes:
        value = wrapped(value, self._bits, signed)
        if not fits(value, 8 * size, signed):
            raise PatchError(f"{value:#x} does not fit a field of {size} bytes")
        return value.to_bytes(size, "little", signed=signed)


# What sites tell guards and holes. Spec names have no space, so a symbol `type` is no clash.
_OP, _NUMBER, CODE = "op name", "op number", "site's code"

_size = len  # `patch` has a parameter of that name


def _way(needs: int, row: Row, length: int, padded: bool) -> Way:
    if row is KEPT:
        return needs, length, PACKS[0], b"", None, b""
    code = row.code if padded else row.code[: row.used]
    if not row.relative:
        return needs, row.used, PACKS[len(code)], code, None, b""
    ((offset, size, value),) = row.relative
    head, tail = code[:offset], code[offset + size :]
    return needs, row.used, _rel32_pack(len(head), len(tail)), head, value, tail


@cache
def _rel32_pack(head: int, tail: int) -> Pack:
    return struct.Struct(f"<{head}si{tail}s").pack_into


def wrapped(value: int, bits: int, signed: bool) -> int:
    """A number as so many bits hold it: addresses and distances wrap."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits) if signed else value


def _pick(known: Mapping[str, T], name: str, what: str) -> T:
    if name not in known:
        raise BindError(f"there is no {what} {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _addresses(spec: Spec, bound: Mapping[K, int], what: str) -> dict[K, int]:
    for name, value in bound.items():
        if not fits(value, spec.machine.bits, False):
            raise BindError(f"{what} {name} is bound to {value:#x}, which is no {spec.machine.bits}-bit address")
    return dict(bound)


def _feature(spec: Spec, feature: str | int) -> int:
    return _pick(spec.machine.features, feature, "feature") if isinstance(feature, str) else feature


def _options(parties: Iterable[Names], chosen: Mapping[str, bool]) -> dict[str, bool]:
    options = {name: default for party in parties for name, default in party.options.items()}
    for name, value in chosen.items():
        _pick(options, name, "option")
        options[name] = bool(value)
    return options


def _clobber_mask(spec: Spec) -> int:
    """All that the record's clobber field can say; without one 16 bits, as in struct paravirt_patch_site."""
    fields = spec.interface.layout.fields if spec.interface else ()
    return (1 << next((field.bits for field in fields if field.name == "clobber"), 16)) - 1
