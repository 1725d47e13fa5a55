"""What a family's site tells: its record's fields, what they lead to, its code now, and the op that it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pvspec.engine.binding import BRANCH, CODE, NUMBER, OP, PEEK
from pvspec.engine.patch import Patcher
from pvspec.engine.slots import slot_of
from pvspec.engine.spec import ELSEWHERE, BindError, Family, PatchError, Read
from pvspec.engine.text import Text

State = Callable[[int, int], bytes]
"""Memory as it is while the kernel runs: (address, bytes) to contents; StateError where that is not known."""

Branch: TypeAlias = tuple[bool, int, int]
"""A call or jump: behind a cs prefix or not, its opcode, where it leads."""


class FamilySite(dict[str, Any]):
    """The fields of a family's record and, for those who ask, what it reads, its code now, and the op it calls.

    `length` in bytes; `lost`: what it reads, and nobody knows; `find`: what finds out about it, by what is asked for.
    """

    __slots__ = ("find", "length", "lost")
    find: Mapping[str, Callable[[FamilySite], Any]]
    length: int
    lost: frozenset[str]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self.find

    def __missing__(self, key: str) -> Any:
        value = self[key] = self.find[key](self)
        return value


class Finder(dict[str, Callable[[FamilySite], Any]]):
    """What finds out about a family's sites in a text, by what rules ask for."""

    def __init__(self, kernel: Patcher, family: Family, text: Text, state: State) -> None:
        self.kernel, self.family, self.text, self.state = kernel, family, text, state
        self.bits = kernel.spec.machine.bits
        self.mask = (1 << self.bits) - 1
        #: What a site has of its own: the rest are symbols.
        self.fields = frozenset(("site", *(field.name for field in family.layout.fields), *family.reads))
        super().__init__(self._finders())

    def _finders(self) -> Iterator[tuple[str, Callable[[FamilySite], Any]]]:
        yield CODE, self._code
        yield BRANCH, lambda site: self.branch(site[CODE], site["site"]) or _NO_BRANCH
        yield PEEK, lambda site: self.text.up_to
        yield NUMBER, self._op_number
        yield OP, lambda site: self.kernel.op_name(site[NUMBER])
        for name, read in self.family.reads.items():
            yield name, self._reader(read)

    def _reader(self, read: Read) -> Callable[[FamilySite], Any]:
        """What reads a value at a field, or at a symbol."""
        if read.base == ELSEWHERE:
            return lambda site: 0  # as long as nobody says otherwise
        value = self._value if read.size else self._leads_to
        if read.base in self.fields:
            return lambda site: value(read, site[read.base])
        return lambda site: value(read, self.kernel.symbol(read.base))

    def _value(self, read: Read, base: int) -> int:
        code = self.state(base + read.offset & self.mask, read.size)
        return int.from_bytes(code, "little", signed=read.signed)

    def _leads_to(self, read: Read, base: int) -> int | None:
        """Where the call or jump leads that lies there; None if there is none."""
        address = base + read.offset & self.mask
        branch = self.branch(self.text.up_to(address, _LONGEST_BRANCH), address)
        return None if branch is None else branch[2]

    def _code(self, site: FamilySite) -> bytes:
        code = self.text.up_to(site["site"], site.length)
        # what memory leads to may be a module's, which is nobody's fault; what a table names may not
        if len(code) < site.length and self.family.place[0] not in self.family.reads:
            raise PatchError(f"its {site.length} bytes lie outside the text")
        return code

    def branch(self, code: bytes, address: int) -> Branch | None:
        """The call or jump that `code` at an address begins with."""
        opcode, at = code[:1], 1
        if opcode not in _CALL_OR_JMP:
            second = code[1:2]
            if second not in (_CALL_OR_JMP if opcode == b"\x2e" else _JCC if opcode == b"\x0f" else ()):
                return None
            at = 2
        if len(code) < at + 4:
            return None
        distance = int.from_bytes(code[at : at + 4], "little", signed=True)
        prefixed = opcode == b"\x2e"
        return prefixed, code[prefixed], address + at + 4 + distance & self.mask

    def _op_number(self, site: FamilySite) -> int:
        """The op whose slot the site names."""
        kernel = self.kernel
        interface, pointer = kernel.spec.interface, self.bits // 8
        slot = None if interface is None else slot_of(interface, site["site"], site[CODE])
        if interface is None or interface.functions is None or slot is None:
            raise PatchError("the site names no slot of a table of functions")
        number, rest = divmod(slot - kernel.symbol(interface.functions), pointer)
        if rest or kernel.op_name(number) is None:
            raise BindError(f"the site names {slot:#x}, which is no op's slot in {interface.functions}")
        return number


_CALL_OR_JMP = frozenset((b"\xe8", b"\xe9"))
_JCC = frozenset(bytes((opcode,)) for opcode in range(0x80, 0x90))
_NO_BRANCH: Branch = False, 0, 0
_LONGEST_BRANCH = 6  # bytes
