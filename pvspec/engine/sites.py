"""The sites of a family's table: fields and reads, the code there now, and the op that it calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from pvspec.engine.decide import Decided
from pvspec.engine.errors import BindError, PatchError
from pvspec.engine.site import Branch, Site
from pvspec.engine.slots import slot_of
from pvspec.engine.spec import ELSEWHERE, Family, Read
from pvspec.engine.text import Text

State: TypeAlias = Callable[[int, int], bytes]
"""Memory as it is while the kernel runs: (address, bytes) to contents; StateError where that is not known."""

NO_BRANCH = -1
"""The value of a read of a branch where there is none."""


class FamilySite(Site):
    """A record of a family's table; what it reads, its branch and its op are found when they are asked for.

    `unreadable`: the names of the values that it reads where no memory is known. `context`: what finds out about it.
    """

    __slots__ = ("context", "unreadable")
    context: SiteContext
    unreadable: frozenset[str]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.context.readers

    def __missing__(self, name: str) -> int:
        value = self[name] = self.context.readers[name](self)
        return value

    if not TYPE_CHECKING:  # or a type checker would take every name for an attribute

        def __getattr__(self, name: str) -> object:
            """What of a site is not set yet; the slot then has it."""
            if name == "branch":  # of nearly every site that anybody asks
                branch = self.branch = self.context.branch(self)
                return branch
            finder = _FINDERS.get(name)
            if finder is None:
                raise AttributeError(name)
            value = finder(self.context, self)
            setattr(self, name, value)
            return value


class SiteContext:
    """What finds out about a family's sites in a text."""

    def __init__(self, kernel: Decided, family: Family, text: Text, state: State) -> None:
        self.kernel, self.family, self.text, self.state = kernel, family, text, state
        self.bits = kernel.spec.machine.bits
        self.mask = (1 << self.bits) - 1
        #: What a site has of its own: all other names are symbols.
        self.fields = frozenset(("site", *(field.name for field in family.layout.fields), *family.reads))
        self.readers: Mapping[str, Callable[[FamilySite], int]] = {
            name: self._reader(read) for name, read in family.reads.items()
        }

    def _reader(self, read: Read) -> Callable[[FamilySite], int]:
        """What reads a value at a field, or at a symbol."""
        if read.base == ELSEWHERE:
            return lambda site: 0  # as long as nobody says otherwise
        value = self._value if read.size else self._leads_to
        if read.base in self.fields:
            return lambda site: value(read, site[read.base])
        return lambda site: value(read, self.kernel.symbol(read.base))

    def _value(self, read: Read, base: int) -> int:
        memory = self.text.read if read.built else self.state
        code = memory(base + read.offset & self.mask, read.size)
        return int.from_bytes(code, "little", signed=read.signed)

    def _leads_to(self, read: Read, base: int) -> int:
        """Where the call or jump at an address leads; NO_BRANCH if there is none."""
        address = base + read.offset & self.mask
        branch = self.branch_at(self.text.up_to(address, _LONGEST_BRANCH), address)
        return NO_BRANCH if branch is None else branch[2]

    def code(self, site: FamilySite) -> bytes:
        """The site's bytes now; PatchError if they are outside the text."""
        code = self.text.up_to(site["site"], site.length)
        # what memory leads to may be a module's, which is nobody's fault; what a table names may not
        if len(code) < site.length and self.family.place[0] not in self.family.reads:
            raise PatchError(f"its {site.length} bytes are outside the text")
        return code

    def branch(self, site: FamilySite) -> Branch:
        """The branch that the site begins with; one that leads nowhere if there is none."""
        return self.branch_at(site.code, site["site"]) or _NO_BRANCH

    def branch_at(self, code: bytes, address: int) -> Branch | None:
        """The call or jump that `code` at an address begins with."""
        size = branch_size(code)
        if not size:
            return None
        distance = int.from_bytes(code[size - 4 : size], "little", signed=True)
        prefixed = code[0] == _CS
        return prefixed, code[prefixed], address + size + distance & self.mask

    def op_number(self, site: FamilySite) -> int:
        """The op whose slot the site names; PatchError, BindError if there is none."""
        kernel = self.kernel
        interface, pointer = kernel.spec.interface, self.bits // 8
        slot = None if interface is None else slot_of(interface, site["site"], site.code)
        if interface is None or interface.functions is None or slot is None:
            raise PatchError("the site names no slot of a table of functions")
        number, rest = divmod(slot - kernel.symbol(interface.functions), pointer)
        if rest or kernel.op_name(number) is None:
            raise BindError(f"the site names {slot:#x}, which is no op's slot in {interface.functions}")
        return number


def branch_size(code: bytes) -> int:
    """How many bytes the call or jump with 32 bits takes that `code` begins with; 0 if there is none."""
    opcode, size = code[:1], 5
    if opcode not in _CALL_OR_JMP:
        if code[1:2] not in (_CALL_OR_JMP if opcode == b"\x2e" else _JCC if opcode == b"\x0f" else ()):
            return 0
        size = 6
    return size if len(code) >= size else 0


_FINDERS: dict[str, Callable[[SiteContext, FamilySite], object]] = {
    "op_name": lambda context, site: context.kernel.op_name(site.op_number),
    "op_number": SiteContext.op_number,
    "peek": lambda context, site: context.text.up_to,
}
_CALL_OR_JMP = frozenset((b"\xe8", b"\xe9"))
_JCC = frozenset(bytes((opcode,)) for opcode in range(0x80, 0x90))
_NO_BRANCH: Branch = False, 0, 0
_LONGEST_BRANCH = 6  # bytes
_CS = 0x2E
