"""One statement of Intel-syntax assembly as a value, and its vocabulary."""

from __future__ import annotations

from collections.abc import Collection

from pvspec.engine.value import Value as Frozen

SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
GENERAL_SIZES = {  # the general registers, in bytes
    **dict.fromkeys(["al", "cl", "dl", "bl", "ah", "ch", "dh", "bh", "spl", "bpl", "sil", "dil"], 1),
    **dict.fromkeys(["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"], 2),
    **dict.fromkeys(["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"], 4),
    **dict.fromkeys(["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"], 8),
    **{f"r{n}{suffix}": size for n in range(8, 16) for suffix, size in (("b", 1), ("w", 2), ("d", 4), ("", 8))},
}
_FAMILIES = (  # the names of each register, the widest first; if there are five, the last is the second byte
    *((f"r{a}x", f"e{a}x", f"{a}x", f"{a}l", f"{a}h") for a in "abcd"),
    *((f"r{a}", f"e{a}", a, f"{a}l") for a in ("si", "di", "bp", "sp")),
    *((f"r{n}", f"r{n}d", f"r{n}w", f"r{n}b") for n in range(8, 16)),
)
_WHOLE = {name: names for names in _FAMILIES for name in names}
REGISTERS = frozenset(
    [*GENERAL_SIZES, *SEGMENTS, "rip", "eip", "st"]
    + [f"{kind}{n}" for kind in ("cr", "dr", "xmm", "ymm", "zmm") for n in range(16)]
    + [f"{kind}{n}" for kind in ("mm", "k", "bnd") for n in range(8)]
    + [f"st({n})" for n in range(8)]
)
SIZES = {  # the words before `ptr`, in bytes
    "byte": 1,
    "word": 2,
    "dword": 4,
    "fword": 6,
    "qword": 8,
    "tbyte": 10,
    "xmmword": 16,
    "ymmword": 32,
    "zmmword": 64,
}
PREFIXES = frozenset(
    (
        "lock",
        "rep",
        "repe",
        "repz",
        "repne",
        "repnz",
        "data16",
        "notrack",
        "bnd",
        "xacquire",
        "xrelease",
        *SEGMENTS,
    )
)
SIZE_NAMES = {size: name for name, size in SIZES.items()}


def full_width(name: str, bits: int) -> str:
    """The full-width general register that a name is part of; other registers' names are returned unchanged."""
    names = _WHOLE.get(name)
    return name if names is None else names[0 if bits == 64 else 1]


def register_bytes(name: str) -> range:
    """The bytes of the full-width register that a general register's name stands for."""
    start = int(name in ("ah", "bh", "ch", "dh"))
    return range(start, start + GENERAL_SIZES[name])


def part_name(register: str, bytes_: Collection[int]) -> str | None:
    """The name of these bytes of a full-width general register; None if they lack a name."""
    names = _WHOLE[register]
    return next((name for name in names if bytes_ and set(register_bytes(name)) == set(bytes_)), None)


AS_BYTES = 'write it as `bytes "…"`'  # for what the assembler cannot encode


class AsmError(Exception):
    """A refused statement: why, what to do about it, and where.

    `start` and `end` are character offsets in the source.
    """

    def __init__(self, message: str, help: str | None = None, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.start = start
        self.end = end


class Value(Frozen):
    """A number, or a symbol plus a number."""

    number: int
    symbol: str | None = None


class Placed(Frozen):
    """Something at characters [start, end) of a source; comparisons ignore the position."""

    def _compared(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields if name not in ("start", "end"))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Placed) and other._compared() == self._compared()

    def __hash__(self) -> int:
        return hash(self._compared())


class Register(Placed):
    """A register as an operand."""

    name: str
    start: int = 0
    end: int = 0


class Immediate(Placed):
    """A number, a branch target (`short`: within a byte's reach), or with `offset` the address of a symbol."""

    value: Value
    offset: bool = False
    short: bool = False
    start: int = 0
    end: int = 0


class Memory(Placed):
    """`size ptr segment:[base + index*scale + displacement]`; size in bytes, None if it is not written."""

    size: int | None
    segment: str | None
    base: str | None
    index: str | None
    scale: int
    displacement: Value
    start: int = 0
    end: int = 0


Operand = Register | Immediate | Memory


class Statement(Placed):
    """Prefixes, mnemonic and operands; all names except symbols are in lower case."""

    prefixes: tuple[str, ...]
    mnemonic: str
    operands: tuple[Operand, ...]
    start: int = 0
    end: int = 0

    def spelling(self) -> str:
        """A text that is the same only for equal statements."""
        return repr((self.prefixes, self.mnemonic, *map(_spelling, self.operands)))


def _spelling(operand: Operand) -> tuple[object, ...]:
    return (type(operand).__name__, *operand._compared())


def format_statement(statement: Statement) -> str:
    """Spell a statement without symbols so that all assemblers agree on it: numbers in hexadecimal."""
    head = " ".join((*statement.prefixes, statement.mnemonic))
    return f"{head} {', '.join(map(_format_operand, statement.operands))}".rstrip()


def _format_operand(operand: Operand) -> str:
    match operand:
        case Register(name):
            return name
        case Immediate(value):
            return hex(value.number)
        case Memory(size, segment, base, index, scale, displacement):
            size_text = f"{SIZE_NAMES[size]} ptr " if size else ""
            terms = [base] if base else []
            terms += [f"{index}*{scale}"] if index else []
            terms += [hex(displacement.number)] if displacement.number or not terms else []
            return f"{size_text}{segment + ':' if segment else ''}[{' + '.join(terms).replace('+ -', '- ')}]"
