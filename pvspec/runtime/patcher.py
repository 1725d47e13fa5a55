"""The rules bound to one kernel, and the patch function for one site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from pvspec.runtime.records import fits, parse_records
from pvspec.runtime.rules import Bug, BindError, Chain, Code, Guard, Hole, Keep, Names, PatchBug, PatchError, Query, Spec

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


KEPT = Row(b"", -1)  # the original instructions stay


class Patcher:
    """One kernel's values for a spec's names.

    `targets`: op number to function address, as in the kernel's own table of ops (0: no function).
    `symbols`: name to address. `options`: name to bool, where the default is not meant.
    `nops`: a nop table's name; without it the spec chooses, by `features` (names or numbers).
    `rom`: name to a function from the argument to the answer as the ROM returns it, an integer.
    `cpus`: processors in the machine. `protect`: name of a protected function to its addresses [start, end).
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
        self.targets = dict(targets or {})
        self.symbols = dict(symbols or {})
        self.rom = dict(rom or {})
        self.cpus = cpus
        self.features = spec.machine.always | {_feature(spec, feature) for feature in features}
        self.protect = dict(protect or {})
        self.options = _options(self._parties(), options or {})
        self.nops = self._nop_table(nops)
        self._mask = (1 << spec.machine.bits) - 1
        self._ops = self._op_numbers()
        self._rows: dict[tuple[int, int, int], Row] = {}

    def patch(self, type: int, clobber: int, insnbuf: Any, addr: int, len: int) -> int:
        """Write the code for one site into `insnbuf`, which holds the original instructions; return the bytes used.

        `type` is the op's number, `clobber` the mask of dead registers, `addr` the site's address, `len` its
        length in bytes. Where the original instructions stay, `insnbuf` stays too, and the result is `len`.
        PatchError (PatchBug, BindError): nothing was written.
        """
        row = self._rows.get((type, clobber, len)) or self.row(type, clobber, len)
        if row is KEPT:
            return len
        insnbuf[: row.used] = (self.placed(row, addr) if row.relative else row.code)[: row.used]
        return row.used

    def pad(self, insnbuf: Any, used: int, len: int) -> None:
        """Fill insnbuf[used:len] with nops, longest first."""
        insnbuf[used:len] = self.padded(b"", len - used)

    def padded(self, code: bytes, length: int) -> bytes:
        """The code, filled up with nops to `length` bytes, longest first."""
        longest = len(self.nops)
        while len(code) < length:
            code += self.nops[min(longest, length - len(code)) - 1]
        return code

    def row(self, type: int, clobber: int, length: int) -> Row:
        """What sites of this type, clobber mask and length (bytes) become; PatchError if they cannot be patched."""
        interface, backend = self.spec.interface, self.backend
        if interface is None or backend is None:
            raise BindError("no backend is bound")
        if type not in self._ops:
            raise PatchError(f"{interface.name} has no op {type}")
        if not 0 <= length <= interface.max_len:
            raise PatchError(f"{length} bytes: a site holds 0 to {interface.max_len}")
        op = self._ops[type]
        try:
            row = self.choose(self._rule(type), clobber, length, {"op": op, "type": type}) or KEPT
        except PatchError as error:
            raise error.__class__(f"{backend.name}, op {op}: {error}") from None
        if not self.asks(type):
            self._rows[type, clobber, length] = row
        return row

    def asks(self, type: int) -> bool:
        """Whether a ROM is asked for this op: then each of its sites may get another answer."""
        return any(isinstance(arm, Query) for arm in self._rule(type))

    def choose(self, chain: Chain, clobber: int, length: int, site: Mapping[str, Any]) -> Row | None:
        """The row of the first arm that does not decline, None if all do.

        `site` holds what guards and holes may ask of a site: its record's fields, for an op `op` and `type`.
        """
        for arm in chain:
            if arm.guard is not None and not self.holds(arm.guard, site):
                continue
            match arm:
                case Keep():
                    return KEPT
                case Bug():
                    raise PatchBug(f"{arm.where}: {arm.message}")
                case Query():
                    answer, answers = self._ask(arm)
                    row = self.choose(answers, clobber, length, {**site, **answer})
                    if row is not None:
                        return row
                case Code() if len(arm.data) <= length and not arm.clobbers & ~clobber:
                    return self._fill(arm, length, site)
        return None

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
                return self.spec.interface is not None and site["op"] in self.spec.interface.noreturn
            case ("cpu", feature):
                return feature in self.features
            case ("cpu field", name):
                return site[name] in self.features
            case ("cpus", count):
                return self._cpus() == count
            case ("within", first, last):
                return self.symbol(first) <= int(site["site"]) < self.symbol(last)
            case ("option", name):
                return self.options[name]
            case ("field", name):
                return bool(site[name])
            case ("equals", name, value):
                return bool(site[name] == value)
        raise PatchError(f"unknown guard {guard[0]}")

    def placed(self, row: Row, addr: int) -> bytes:
        """A row's code with the relative fields of a site at this address; PatchError if one is out of reach."""
        if not row.relative:
            return row.code
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

    def _rule(self, type: int) -> Chain:
        if self.backend is None:
            return ()
        return self.backend.rules.get(self._ops[type], self.backend.otherwise)

    def _cpus(self) -> int:
        if self.cpus is None:
            raise BindError("the number of cpus is not bound")
        return self.cpus

    def _target(self, site: Mapping[str, Any]) -> int:
        if site["type"] not in self.targets:
            raise BindError(f"the target of op {site['op']} ({site['type']}) is not bound")
        return self.targets[site["type"]]

    def _ask(self, query: Query) -> tuple[dict[str, int], Chain]:
        if self.backend is None or query.rom not in self.rom:
            raise BindError(f"rom {query.rom} is not bound")
        rom, word = self.backend.roms[query.rom], self.rom[query.rom](query.argument)
        if not fits(word, 8 * rom.answer.size, False):
            raise PatchError(f"{query.where}: rom {query.rom} answered {word:#x}, more than {rom.answer.size} bytes")
        (answer,) = parse_records(rom.answer, word.to_bytes(rom.answer.size, "little"))
        return answer, rom.chains.get(answer.pop("type"), rom.otherwise)

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
        bits = 8 * size
        if bits >= self.spec.machine.bits:
            value &= self._mask  # addresses wrap
        elif not fits(value, bits, signed) and not fits(value - self._mask - 1, bits, signed):
            raise PatchError(f"{value:#x} does not fit a field of {size} bytes")
        return (value & ((1 << bits) - 1)).to_bytes(size, "little")


def _pick(known: Mapping[str, T], name: str, what: str) -> T:
    if name not in known:
        raise BindError(f"there is no {what} {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _feature(spec: Spec, feature: str | int) -> int:
    return _pick(spec.machine.features, feature, "feature") if isinstance(feature, str) else feature


def _options(parties: Iterable[Names], chosen: Mapping[str, bool]) -> dict[str, bool]:
    options = {name: default for party in parties for name, default in party.options.items()}
    for name, value in chosen.items():
        _pick(options, name, "option")
        options[name] = bool(value)
    return options
