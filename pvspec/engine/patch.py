"""The rules bound to one kernel, and the patch function for one site."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple, TypeAlias, assert_never

from pvspec.engine.decide import Decided
from pvspec.engine.errors import BindError, PatchBug, PatchError, StateError
from pvspec.engine.facts import Facts
from pvspec.engine.records import fits, parse_records
from pvspec.engine.relocation import wrapped
from pvspec.engine.site import Site
from pvspec.engine.spec import ELSEWHERE, Aim, Bug, Chain, Code, Copy, Hole, Keep, Query, Spec, Store
from pvspec.engine.text import PACKS, Buffer, Pack


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

UNCHANGED = Row(b"", -1)  # the original instructions stay

Candidate: TypeAlias = tuple[int, int, Pack, bytes, int | None, bytes]
"""A way to patch the sites of one type and length: (needs, used, pack, head, value, tail).

It is open to sites whose clobber mask has all of `needs`. `pack` takes a buffer, an offset and `head`; if `value` is
not None, then also a rel32, which is value - address of the site, and `tail`. The loops over sites unpack it: it is a
plain tuple because that takes a NamedTuple twice the time.
"""


class Patcher(Decided):
    """A kernel that patches single sites."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._bits = self.spec.machine.bits
        self._clobber_mask = _clobber_mask(self.spec)
        self._candidates: dict[tuple[int, int, bool], tuple[Candidate, ...]] = {}
        self._open: dict[int, dict[int, dict[int, Candidate]]] = {}  # by type, length and clobber mask
        self._nop_runs: dict[int, tuple[Pack, bytes]] = {}

    def patch(self, type: int, clobber: int, insnbuf: Buffer, addr: int, len: int) -> int:
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

    def pad(self, insnbuf: Buffer, used: int, len: int) -> None:
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
        """The code, filled up with nops to `length` bytes."""
        return padded(code, length, self.nops, jumps=self.nops_name in self.spec.machine.jumps)

    def row(self, type: int, clobber: int, length: int) -> Row:
        """What sites of this type, clobber mask and length (bytes) become; PatchError if they cannot be patched."""
        if not 0 <= clobber <= self._clobber_mask:
            raise PatchError(f"a clobber mask of {clobber:#x}: it has {self._clobber_mask.bit_length()} bits")
        return next(row for needs, row in self._outcomes(type, length) if clobber & needs == needs)

    def candidates(self, type: int, length: int, *, padded: bool = True) -> tuple[Candidate, ...]:
        """The candidates to patch sites of this type and length (bytes), in the order in which they are tried.

        They write the whole site, or if not `padded` the bytes used. Where none is open to a site, `row` knows more:
        a ROM must be asked, the fields are not one rel32, or the site cannot be patched.
        """
        candidates = self._candidates.get((type, length, padded))
        if candidates is None:
            candidates = self._candidates[type, length, padded] = self._find_candidates(type, length, padded)
        return candidates

    def asks(self, type: int) -> bool:
        """Whether a ROM is asked for this op: then each of its sites may get another answer."""
        return any(isinstance(arm, Query) for arm in self._rule(type))

    def choose(self, chain: Chain, clobber: int, length: int, site: Site) -> Row | None:
        """The row of the first arm that does not decline, None if all do; `site` as for `outcomes`."""
        rows = (row for needs, row in self.outcomes(chain, length, site) if clobber & needs == needs)
        return next(rows, None)

    def outcomes(self, chain: Chain, length: int, site: Site) -> Iterator[tuple[int, Row]]:
        """The arms that may decide a site of this length, in order: the mask that each clobbers, and its row.

        `site` holds what guards and holes may ask of a site: its record's fields, for an op its name and number.
        PatchError is raised where a site would have to stop patching.
        """
        for arm in chain:
            if arm.guard is not None and not self.holds(arm.guard, site):
                continue
            match arm:
                case Keep():
                    yield 0, UNCHANGED
                case Bug():
                    raise PatchBug(f"{arm.where}: {arm.message}")
                case Query():
                    answer, answers = self._ask(arm)
                    yield from self.outcomes(answers, length, op_site(site.op_number, site.op_name, {**site, **answer}))
                case Code():
                    if len(arm.data) <= length:
                        yield arm.clobbers, self.filled(arm, length, site)
                case Aim() | Store() | Copy():
                    raise PatchError(f"{arm.where}: only a family's record says what to write here")
                case _:
                    assert_never(arm)

    def placed(self, row: Row, addr: int) -> bytes:
        """A row's code with the relative fields of a site at this address; PatchError if one is out of reach."""
        code = bytearray(row.code)
        for offset, size, value in row.relative:
            try:
                code[offset : offset + size] = self._cell(value - addr, size, True)
            except PatchError:
                raise PatchError(f"{row.where}: the target is out of reach from {addr:#x}") from None
        return bytes(code)

    # ---- one site

    def _patch_new(self, type: int, clobber: int, insnbuf: Buffer, addr: int, length: int) -> int:
        """As `patch`, for the first site of its like, or one that no candidate fits."""
        row = self.row(type, clobber, length)
        for candidate in self.candidates(type, length, padded=False):
            if clobber & candidate[0] == candidate[0]:
                self._open.setdefault(type, {}).setdefault(length, {})[clobber] = candidate
                return self.patch(type, clobber, insnbuf, addr, length)
        if len(insnbuf) < length or not 0 <= addr <= self._mask:
            raise self._misuse(insnbuf, addr, length)
        return self._patch_row(row, insnbuf, addr, length)

    def _find_candidates(self, type: int, length: int, padded: bool) -> tuple[Candidate, ...]:
        found: list[Candidate] = []
        with suppress(PatchError):
            for needs, row in () if self.asks(type) else self._outcomes(type, length):
                if len(row.relative) > 1 or any(size != 4 for _, size, _ in row.relative):
                    break
                found.append(_candidate(needs, row, length, padded))
                if not needs:
                    break
        return tuple(found)

    def _misuse(self, insnbuf: Buffer, addr: int, length: int) -> PatchError:
        if not 0 <= addr <= self._mask:
            return PatchError(f"{addr:#x} is not a {self._bits}-bit address")
        return PatchError(f"insnbuf holds {len(insnbuf)} bytes, the site has {length}")

    def _patch_row(self, row: Row, insnbuf: Buffer, addr: int, length: int) -> int:
        if row is UNCHANGED:
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
            yield from self.outcomes(self._rule(type), length, op_site(type, op))
        except PatchError as error:
            raise error.__class__(f"{backend.name}, op {op}: {error}") from None
        yield 0, UNCHANGED

    def _rule(self, type: int) -> Chain:
        if self.backend is None or type not in self._ops:
            return ()
        return self.backend.rules.get(self._ops[type], self.backend.otherwise)

    # ---- what is asked for

    def _ask(self, query: Query) -> tuple[dict[str, int], Chain]:
        if self.backend is None or query.rom not in self.facts.rom:
            raise BindError(f"rom {query.rom} is not bound")
        rom, word = self.backend.roms[query.rom], self.facts.rom[query.rom](query.argument)
        if not fits(word, 8 * rom.answer.size, False):
            raise PatchError(f"{query.where}: rom {query.rom} answered {word:#x}, more than {rom.answer.size} bytes")
        (answer,) = parse_records(rom.answer, word.to_bytes(rom.answer.size, "little"))
        return answer, rom.chains.get(answer.pop("type"), rom.otherwise)

    # ---- fields

    def filled(self, arm: Code, length: int, site: Site) -> Row:
        """The row of an arm at sites of this length (bytes): its code, with the fields that are the same for all."""
        code, relative = bytearray(self.padded(arm.data, length)), []
        for hole in arm.holes:
            value = self._address(hole.symbol, site) + hole.addend
            if hole.relative:
                relative.append((hole.offset, hole.size, value - hole.end))
            else:
                code[hole.offset : hole.offset + hole.size] = self._absolute(hole, value, arm.where)
        return Row(bytes(code), len(arm.data), tuple(relative), arm.where)

    def _address(self, name: str, site: Site) -> int:
        if name == "target":
            return self.target(site.op_number)
        if name == ELSEWHERE:
            raise StateError("it leads to where the kernel chose at boot")
        return site[name] if name in site else self.symbol(name)

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


_size = len  # `patch` has a parameter of that name


def op_site(number: int, name: str | None, answer: Mapping[str, int] | None = None) -> Site:
    """A site of an op, with what a ROM has answered for it."""
    site = Site(answer or {})
    site.op_number, site.op_name = number, name
    return site


def _candidate(needs: int, row: Row, length: int, padded: bool) -> Candidate:
    if row is UNCHANGED:
        return needs, length, PACKS[0], b"", None, b""
    code = row.code if padded else row.code[: row.used]
    if not row.relative:
        return needs, row.used, PACKS[len(code)], code, None, b""
    ((offset, size, value),) = row.relative
    head, tail = code[:offset], code[offset + size :]
    return needs, row.used, _rel32_pack(len(head), len(tail)), head, value, tail


def padded(code: bytes, length: int, nops: Sequence[bytes], *, jumps: bool) -> bytes:
    """The code, filled up to `length` bytes with nops, longest first; `nops[n - 1]` has n bytes.

    If `jumps`, what is longer than the longest nop is jumped over instead.
    """
    rest = length - len(code)
    if jumps and rest > len(nops):
        return code + _jump_over(rest)
    count, rest = divmod(max(rest, 0), len(nops))
    return code + nops[-1] * count + (nops[rest - 1] if rest else b"")


def _jump_over(size: int) -> bytes:
    """A jump over int3, as Linux 6.8 and later lay what no single nop fills; more than 2 bytes."""
    near = size - 2 < 128
    jump = bytes((0xEB, size - 2)) if near else b"\xe9" + (size - 5).to_bytes(4, "little")
    return jump.ljust(size, b"\xcc")


@cache
def _rel32_pack(head: int, tail: int) -> Pack:
    return struct.Struct(f"<{head}si{tail}s").pack_into


def _clobber_mask(spec: Spec) -> int:
    """All that the record's clobber field can say; without one 16 bits, as in struct paravirt_patch_site."""
    fields = spec.interface.layout.fields if spec.interface and spec.interface.layout else ()
    return (1 << next((field.bits for field in fields if field.name == "clobber"), 16)) - 1
