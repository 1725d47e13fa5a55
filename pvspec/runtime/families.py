"""The sites of a family: its records, what they read of memory, and the code that the rule gives each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from pvspec.runtime.binding import BRANCH, CODE, NUMBER, OP, PEEK
from pvspec.runtime.lengths import instruction_length
from pvspec.runtime.patcher import REL32_REACH, Patcher
from pvspec.runtime.records import parse_records, require_fields
from pvspec.runtime.relocation import all_relaid, ones_relaid, relocated, relocated_throughout
from pvspec.runtime.rules import ELSEWHERE, Arm, BindError, Bug, Code, Copy, Family, Keep, PatchBug, PatchError, Store
from pvspec.runtime.slots import slot_of
from pvspec.runtime.text import Text

State = Callable[[int, int], bytes]
"""Memory as it is while the kernel runs: (address, bytes) to contents; StateError where that is not known."""

Emitter: TypeAlias = Callable[["FamilySite"], bytes]


class Outcome(NamedTuple):
    """What becomes of one record's site: the arm that decided (None: all declined), the code (None: it stays).

    `record` counts from 0, by the records that are not padding.
    """

    record: int
    address: int
    length: int
    arm: Arm | None
    code: bytes | None
    before: bytes
    site: FamilySite


class FamilySites:
    """A family's sites in one text, and how a kernel patches them."""

    def __init__(self, kernel: Patcher, family: Family, text: Text, state: State | None = None) -> None:
        self.kernel = kernel
        self.family = family
        self.text = text
        self.state = state or text.read
        self.bits = kernel.spec.machine.bits
        self.mask = (1 << self.bits) - 1
        self._chain = list(self._open_arms())
        self._branches = [name for name, read in family.reads.items() if not read.size]
        #: Whether a table says where sites lie. Where memory or a symbol leads to may be anywhere.
        self.named = not family.layout.patterns and family.place[0] not in family.reads and not self._branches
        #: Whether no site can change, whatever it is: its records are not looked at.
        self.idle = not family.relaid and all(isinstance(arm, Keep) for arm, _, _ in self._chain)
        self._emitters: dict[tuple[int, int], Emitter] = {}  # by the arm's identity and the site's length
        self._own = frozenset((*(field.name for field in family.layout.fields), *family.reads, "target", ELSEWHERE))

    def records(self, table: bytes | memoryview, address: int) -> Iterator[dict[str, int]]:
        """The records of the family's table; PatchError if it is cut short, or lacks a field."""
        family = self.family
        place, needs_len = family.place[0], family.length is None and not family.decoded
        require_fields(family.layout, *([] if place in family.reads else [place]), *(["len"] if needs_len else []))
        records = parse_records(family.layout, table, address)
        return _with_longest(records) if family.longest else records

    def site(self, record: Mapping[str, int]) -> FamilySite | None:
        """The site of a record, None if it has none: there is no branch to read, or the site's pointer is null."""
        site = FamilySite(record, self)
        place, offset = self.family.place
        address = site[place]
        if place in self.family.reads and not address:
            return None
        site["site"] = address + offset & self.mask
        if self._branches and None in (site[name] for name in self._branches):
            return None
        site.length = self.family.length or self._length(site)
        return site

    def _length(self, site: FamilySite) -> int:
        """A site's length in bytes, where the family does not say it."""
        if not self.family.decoded:
            return int(site["len"])
        size = instruction_length(self.text.up_to(site["site"], 15), 0, self.bits)
        if not size:
            raise PatchError("there is no instruction")
        return size

    def outcome(self, site: FamilySite, record: int = 0) -> Outcome:
        """What becomes of a site, which is not written; PatchError if it cannot be patched."""
        arm = self.deciding_arm(site)
        code = None if arm is None else self.code(arm, site)
        if self.family.relaid:
            old = site[CODE]
            new = self._relaid(old if code is None else code)
            code = new if code is not None or new != old else None
        return Outcome(record, site["site"], site.length, arm, code, site[CODE], site)

    def deciding_arm(self, site: FamilySite) -> Arm | None:
        """The arm that says what becomes of a site; None if all decline."""
        for arm, condition, size in self._chain:
            if size <= site.length and (condition is True or condition(site)):
                return arm
        return None

    def fits(self, arm: Arm, site: FamilySite) -> bool:
        """Whether what an arm writes is no longer than the site."""
        return self._choice(arm)[2] <= site.length

    def _open_arms(self) -> Iterator[tuple[Arm, Any, int]]:
        """The arms that may decide a site, up to one that decides every site that comes to it."""
        for arm in self.family.rule:
            choice = _, condition, size = self._choice(arm)
            if condition is not False:
                yield choice
            if condition is True and size <= (self.family.length or 0):
                return

    def _choice(self, arm: Arm) -> tuple[Arm, Any, int]:
        """An arm, when it is taken, and the bytes that it needs."""
        condition = True if arm.guard is None else self.kernel.condition(arm.guard)
        return arm, condition, len(arm.data) if isinstance(arm, Code) else arm.size if isinstance(arm, Store) else 0

    def code(self, arm: Arm, site: FamilySite) -> bytes | None:
        """The code that an arm gives a site, all of it; None if the site stays. PatchError if it cannot be had."""
        match arm:
            case Code():
                return self._emitted(arm, site)
            case Copy():
                return self._filled(self._copied(arm, site), site.length)
            case Store():
                return (int(site[arm.name]) & (1 << 8 * arm.size) - 1).to_bytes(arm.size, "little")
            case Bug():
                raise PatchBug(f"{arm.where}: {arm.message}")
        return None

    def _emitted(self, arm: Code, site: FamilySite) -> bytes:
        emitter = self._emitters.get((id(arm), site.length))
        if emitter is None:
            emitter = self._emitters[id(arm), site.length] = self._emitter(arm, site)
        code: bytes = emitter(site)
        return code

    def _emitter(self, arm: Code, site: FamilySite) -> Emitter:
        """What gives the code of sites of this one's length; quick where they differ in one rel32 at most."""
        kernel, length = self.kernel, site.length
        if any(hole.symbol in self._own for hole in arm.holes):
            return lambda site: kernel.placed(kernel.filled(arm, length, site), site["site"])
        row = kernel.filled(arm, length, site)
        if not row.relative:
            return lambda site: row.code
        if len(row.relative) > 1 or row.relative[0][1] != 4:
            return lambda site: kernel.placed(row, int(site["site"]))
        ((at, size, value),) = row.relative
        head, tail = row.code[:at], row.code[at + size :]

        def emit(site: FamilySite) -> bytes:
            distance: int = value - site["site"]
            if -REL32_REACH <= distance < REL32_REACH:
                return head + distance.to_bytes(4, "little", signed=True) + tail
            return kernel.placed(row, site["site"])

        return emit

    def _filled(self, code: bytes, length: int) -> bytes:
        """Code filled up to the site's length, with nops that may be laid anew afterwards."""
        if self.family.relaid:
            return code.ljust(length, self.kernel.nops[0])
        return self.kernel.padded(code, length)

    def _relaid(self, code: bytes) -> bytes:
        lay = all_relaid if self.family.throughout else ones_relaid
        return lay(code, lambda size: self.kernel.padded(b"", size), self.bits)

    def _copied(self, arm: Copy, site: FamilySite) -> bytes:
        address = site[arm.address] if arm.address in site else self.kernel.symbol(arm.address)
        size = arm.size if isinstance(arm.size, int) else site[arm.size]
        source, to = address & self.mask, site["site"]
        if size > site.length:
            raise PatchBug(f"{arm.where}: a replacement of {size} bytes for a site of {site.length}")
        code = self.text.read(source, size)
        if arm.throughout:
            return relocated_throughout(code, source, to, self.bits)
        if arm.relocated:
            return self.kernel.padded(relocated(code, source, to, self.bits), size)
        return code


class FamilySite(dict[str, Any]):
    """The fields of a family's record and, for those who ask, what it reads, its code now, and the op it calls."""

    length = 0  # bytes
    lost: frozenset[str] = frozenset()  # what it reads, and nobody knows

    def __init__(self, record: Mapping[str, int], owner: FamilySites) -> None:
        super().__init__(record)
        self._owner = owner

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._owner.family.reads

    def __missing__(self, key: str) -> Any:
        value = self[key] = self._find(key)
        return value

    def _find(self, key: str) -> Any:
        owner = self._owner
        if key == CODE:
            return self._code()
        if key == BRANCH:
            return self._branch_in(self[CODE], self["site"]) or _NO_BRANCH
        if key == PEEK:
            return owner.text.up_to
        if key == NUMBER:
            return self._op_number()
        if key == OP:
            return owner.kernel.op_name(self[NUMBER])
        base, offset, size, signed = owner.family.reads[key]
        if base == ELSEWHERE:
            return 0  # as long as nobody says otherwise
        address = (self[base] if base in self else owner.kernel.symbol(base)) + offset & owner.mask
        if size:
            return int.from_bytes(owner.state(address, size), "little", signed=signed)
        branch = self._branch_in(owner.text.up_to(address, 6), address)
        return None if branch is None else branch[2]

    def _code(self) -> bytes:
        owner, size = self._owner, self.length
        code = owner.text.up_to(self["site"], size)
        # what memory leads to may be a module's, which is nobody's fault; what a table names may not
        if len(code) < size and owner.family.place[0] not in owner.family.reads:
            raise PatchError(f"its {size} bytes lie outside the text")
        return code

    def _branch_in(self, code: bytes, address: int) -> tuple[bool, int, int] | None:
        """The branch that `code` at an address begins with: behind a cs prefix or not, its opcode, where it leads."""
        if code[:1] in _CALL_OR_JMP:
            prefixed, at = False, 1
        elif code[:1] == b"\x2e" and code[1:2] in _CALL_OR_JMP:
            prefixed, at = True, 2
        elif code[:1] == b"\x0f" and code[1:2] in _JCC:
            prefixed, at = False, 2
        else:
            return None
        if len(code) < at + 4:
            return None
        distance = int.from_bytes(code[at : at + 4], "little", signed=True)
        return prefixed, code[prefixed], address + at + 4 + distance & self._owner.mask

    def _op_number(self) -> int:
        """The op whose slot the site names."""
        kernel = self._owner.kernel
        interface, pointer = kernel.spec.interface, self._owner.bits // 8
        slot = None if interface is None else slot_of(interface, self["site"], self[CODE])
        if interface is None or interface.functions is None or slot is None:
            raise PatchError("the site names no slot of a table of functions")
        number, rest = divmod(slot - kernel.symbol(interface.functions), pointer)
        if rest or kernel.op_name(number) is None:
            raise BindError(f"the site names {slot:#x}, which is no op's slot in {interface.functions}")
        return number


_CALL_OR_JMP = frozenset((b"\xe8", b"\xe9"))
_JCC = frozenset(bytes((opcode,)) for opcode in range(0x80, 0x90))
_NO_BRANCH = False, 0, 0


def _with_longest(records: Iterable[dict[str, int]]) -> Iterator[dict[str, int]]:
    """The records, each with the length of the longest of those for its site that follow each other."""
    for _, group in groupby(records, key=lambda record: record["site"]):
        members = list(group)
        longest = max(record["len"] for record in members)
        for record in members:
            yield {**record, "len": longest}
