"""The sites of a family: its records, what they read of memory, and the code that the rule gives each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from pvspec.runtime.binding import BRANCH, CODE, NUMBER, OP, PEEK, Condition
from pvspec.runtime.lengths import instruction_length
from pvspec.runtime.patcher import Patcher
from pvspec.runtime.records import parse_records, require_fields
from pvspec.runtime.relocation import all_relaid, ones_relaid, relocated, relocated_throughout
from pvspec.runtime.rules import Arm, BindError, Bug, Code, Copy, Family, Keep, PatchBug, PatchError, Store
from pvspec.runtime.slots import slot_of
from pvspec.runtime.text import Text

State = Callable[[int, int], bytes]
"""Memory as it is while the kernel runs: (address, bytes) to contents; StateError where that is not known."""


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
        self._chain = [(arm, condition) for arm, condition in self._conditions() if condition is not False]
        self._whole: dict[tuple[Arm, int], bytes] = {}  # the sites' code, where it is the same for all of them

    def records(self, table: bytes | memoryview, address: int) -> Iterator[dict[str, int]]:
        """The records of the family's table; PatchError if it is cut short, or lacks a field."""
        family = self.family
        place, needs_len = family.place[0], family.length is None and not family.decoded
        require_fields(family.layout, *([] if place in family.reads else [place]), *(["len"] if needs_len else []))
        records = parse_records(family.layout, table, address)
        return _with_longest(records) if family.longest else records

    @property
    def idle(self) -> bool:
        """Whether no site can change, whatever it is."""
        return not self.family.relaid and all(isinstance(arm, Keep) for arm, _ in self._chain)

    def site(self, record: Mapping[str, int]) -> FamilySite | None:
        """The site of a record, None if it has none: it is where a branch or a pointer leads, and there is none."""
        site = FamilySite(record, self)
        place, offset = self.family.place
        address = site[place]
        if place in self.family.reads and not address:
            return None
        site["site"] = address + offset & self.mask
        return site

    def length(self, site: FamilySite) -> int:
        """A site's length in bytes; PatchError if there is no instruction to be decoded."""
        if self.family.length is not None:
            return self.family.length
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
        for arm, condition in self._chain:
            if (condition is True or condition(site)) and self.fits(arm, site):
                return arm
        return None

    def fits(self, arm: Arm, site: FamilySite) -> bool:
        """Whether what an arm writes is no longer than the site."""
        size = len(arm.data) if isinstance(arm, Code) else arm.size if isinstance(arm, Store) else 0
        return size <= site.length

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
        whole = self._whole.get((arm, site.length))
        if whole is None:
            whole = self.kernel.placed(self.kernel.filled(arm, site.length, site), site["site"])
            if not arm.holes:
                self._whole[arm, site.length] = whole
        return whole

    def _conditions(self) -> Iterator[tuple[Arm, Any]]:
        for arm in self.family.rule:
            condition: Condition = True if arm.guard is None else self.kernel.condition(arm.guard)
            yield arm, condition

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

    def __init__(self, record: Mapping[str, int], owner: FamilySites) -> None:
        super().__init__(record)
        self._owner = owner
        self._length: int | None = None

    @property
    def length(self) -> int:
        """The site's length in bytes; PatchError if there is no instruction to be decoded."""
        if self._length is None:
            self._length = self._owner.length(self)
        return self._length

    def __missing__(self, key: str) -> Any:
        value = self[key] = self._find(key)
        return value

    def _find(self, key: str) -> Any:
        owner = self._owner
        if key == CODE:
            return self._code()
        if key == BRANCH:
            return self._branch_at(self["site"]) or (False, 0, 0)
        if key == PEEK:
            return owner.text.up_to
        if key == NUMBER:
            return self._op_number()
        if key == OP:
            return owner.kernel.op_name(self[NUMBER])
        base, offset, size, signed = owner.family.reads[key]
        address = (self[base] if base in self else self._base(base)) + offset & owner.mask
        if size:
            return int.from_bytes(owner.state(address, size), "little", signed=signed)
        branch = self._branch_at(address)
        return None if branch is None else branch[2]

    def _code(self) -> bytes:
        owner, size = self._owner, self.length
        code = owner.text.up_to(self["site"], size)
        # what memory leads to may be a module's, which is nobody's fault; what a table names may not
        if len(code) < size and owner.family.place[0] not in owner.family.reads:
            raise PatchError(f"its {size} bytes lie outside the text")
        return code

    def _base(self, name: str) -> int:
        return int(self[name]) if name in self._owner.family.reads else self._owner.kernel.symbol(name)

    def _branch_at(self, address: int) -> tuple[bool, int, int] | None:
        """The branch at an address: whether it is behind a cs prefix, its opcode (0x0f: jcc), where it leads."""
        code = self._owner.text.up_to(address, 6)
        prefixed = code[:1] == b"\x2e"
        at = 2 if code[:1] == b"\x0f" and code[1:2] in _JCC else 1 + prefixed
        if len(code) < at + 4 or ((at < 2 or prefixed) and code[at - 1] not in _CALL_OR_JMP):
            return None
        distance = int.from_bytes(code[at : at + 4], "little", signed=True)
        return prefixed, code[int(prefixed)], address + at + 4 + distance & self._owner.mask

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


_CALL_OR_JMP = b"\xe8\xe9"
_JCC = bytes(range(0x80, 0x90))


def _with_longest(records: Iterable[dict[str, int]]) -> Iterator[dict[str, int]]:
    """The records, each with the length of the longest of those for its site that follow each other."""
    for _, group in groupby(records, key=lambda record: record["site"]):
        members = list(group)
        longest = max(record["len"] for record in members)
        for record in members:
            yield {**record, "len": longest}
