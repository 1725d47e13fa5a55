"""Read machine code back, with two disassemblers.

iced-x86 reads everything: it shares no tables with keystone, whereas capstone, like keystone, comes from LLVM and could
share its mistakes. Capstone, the slowest to import, is the second decoder, used only where a function says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pvspec.engine.value import Value
from pvspec.x86.code import Instruction

if TYPE_CHECKING:
    import iced_x86

    _Kinds = Sequence[iced_x86.OpKind_]

BAD = "(bad)"
_LONGEST = 15  # bytes of an x86 instruction
# iced's spelling on the left, GNU as's spelling of the same bytes on the right
_SPELLINGS = (
    (re.compile(r"^data64 ret far\b"), "retfq"),
    (re.compile(r"\bret far\b"), "retf"),
    (re.compile(r"\bfar ([ft])(?=word|byte)"), r"\1"),
    (re.compile(r"^xlat byte ptr \[[er]?bx\]"), "xlatb"),
    (re.compile(r"\bhint-not-taken "), "cs "),
    (re.compile(r"\bhint-taken "), "ds "),
    (re.compile(r"^(lea|sgdt|sidt|lgdt|lidt)(.*?)(?:[ft]word|tbyte) ptr "), r"\1\2"),
    (re.compile(r"\bst(?=,|$)"), "st(0)"),
    (re.compile(r"^notrack (?=.*\bds:\[)"), ""),  # one prefix, which iced names twice
    # GNU as omits x87's stack top as an operand where there is no choice
    (re.compile(r"^(f\w+) st\(0\), (?=.*\])"), r"\1 "),
    (re.compile(r"^(f\w+ .*\]), st\(0\)$"), r"\1"),
    (re.compile(r"^(fld|fxch|fu?comp?) st\(0\), (?=st)"), r"\1 "),
    (re.compile(r"^(fstp?) (st\(\d\)), st\(0\)$"), r"\1 \2"),
)
# unsuffixed, iced means 16 bits and GNU as the mode's width
_WORD_FORMS = re.compile(r"^(pushf|popf|iret|pusha|popa)$")
_BARE_IN_64 = {"sysret": "sysretd", "sysexit": "sysexitd"}


class Field(Value):
    """An immediate or displacement within one instruction, in bytes; `width` is what it is extended to, in bits."""

    offset: int
    size: int
    width: int
    signed: bool


class Reading(Value):
    """One decoded instruction.

    `segment` is the segment prefix, written in `text` or not; `immediates` are in the operands' order; `target` is
    where a branch goes.
    """

    size: int
    text: str
    segment: str | None
    displacement: Field | None
    immediates: tuple[Field, ...]
    target: int | None


def read(data: bytes, bits: int, address: int = 0) -> Reading | None:
    """Decode the first instruction of `data`; None if it is invalid."""
    return _reader().read(data, bits, address)


def disassemble(data: bytes, bits: int, address: int = 0) -> tuple[Instruction, ...]:
    """Disassemble bytes at `address`; offsets count from the start of `data`.

    A byte that no instruction can begin with becomes an instruction `(bad)` of one byte.
    """
    return tuple(_disassemble(data, bits, address))


def second_opinions(data: bytes, bits: int, address: int = 0) -> tuple[Instruction, ...]:
    """Return capstone's reading of each instruction for which it sees another length than `disassemble` does.

    Then either processors differ (`66 0f 80` in 64-bit code), or capstone is wrong (it splits `0f b9 cc` in two, and
    reads `lock` before what cannot be locked). Empty if the decoders agree.
    """
    readings = (_capstone_reading(data, bits, address, i.offset) for i in disassemble(data, bits, address))
    lengths = {(i.offset, i.size) for i in disassemble(data, bits, address)}
    return tuple(reading for reading in readings if (reading.offset, reading.size) not in lengths)


class Facts(Value):
    """What capstone says an instruction does; names of registers (capstone's) and flags are in lower case."""

    size: int
    reads: frozenset[str]
    writes: frozenset[str]
    flags_read: frozenset[str]
    flags_written: frozenset[str]


def second_facts(data: bytes, bits: int) -> Facts | None:
    """Return what capstone says the first instruction does; None if it sees no instruction."""
    engine = _capstone_with_facts(bits)
    for instruction in engine.disasm(data, 0, 1):
        reads, writes = instruction.regs_access()
        flags = (
            0 if instruction.mnemonic.startswith("f") else instruction.eflags
        )  # x87 has other flags in the same field
        return Facts(
            instruction.size,
            frozenset(engine.reg_name(number) for number in reads),
            frozenset(engine.reg_name(number) for number in writes),
            _flags_in(flags, ("TEST",)),
            _flags_in(flags, ("MODIFY", "SET", "RESET", "UNDEFINED")),
        )
    return None


def _flags_in(mask: int, kinds: Sequence[str]) -> frozenset[str]:
    from capstone import x86_const

    names = ("CF", "PF", "AF", "ZF", "SF", "OF", "DF", "IF", "TF", "NT")
    named = ((name, getattr(x86_const, f"X86_EFLAGS_{kind}_{name}", 0)) for kind in kinds for name in names)
    return frozenset(name.lower() for name, bit in named if mask & bit)


@cache
def _capstone_with_facts(bits: int) -> Any:
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_64)
    engine.detail = True
    return engine


def _disassemble(data: bytes, bits: int, address: int) -> Iterator[Instruction]:
    offset = 0
    while offset < len(data):
        reading = read(data[offset : offset + _LONGEST], bits, address + offset)
        size, text = (reading.size, reading.text) if reading else (1, BAD)
        yield Instruction(offset, size, text, "")
        offset += size


def _capstone_reading(data: bytes, bits: int, address: int, offset: int) -> Instruction:
    window = data[offset : offset + _LONGEST]
    for _, size, mnemonic, operands in _capstone(bits).disasm_lite(window, address + offset, 1):
        return Instruction(offset, size, f"{mnemonic} {operands}".rstrip(), "")
    return Instruction(offset, 1, BAD, "")


@cache
def _capstone(bits: int) -> Any:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_64)


def decoder_library() -> Any:
    """Import iced-x86; nothing else does."""
    import iced_x86

    return iced_x86


@cache
def _reader() -> _Reader:
    return _Reader()


class _Reader:
    """iced-x86 and its tables, built when first needed."""

    def __init__(self) -> None:
        import iced_x86 as iced

        self._decoder = iced.Decoder
        self._formatter = _formatter()
        self._registers = {v: n.lower() for n, v in vars(iced.Register).items() if isinstance(v, int)}
        kind = iced.OpKind
        self._immediates = {  # the operand's width in bits, and whether the field is sign-extended to it
            kind.IMMEDIATE8: (8, False),
            kind.IMMEDIATE8_2ND: (8, False),
            kind.IMMEDIATE16: (16, False),
            kind.IMMEDIATE32: (32, False),
            kind.IMMEDIATE64: (64, False),
            kind.IMMEDIATE8TO16: (16, True),
            kind.IMMEDIATE8TO32: (32, True),
            kind.IMMEDIATE8TO64: (64, True),
            kind.IMMEDIATE32TO64: (64, True),
        }
        self._branches = {kind.NEAR_BRANCH32, kind.NEAR_BRANCH64}
        self._string_memory = {
            32: {kind.MEMORY_SEG_ESI, kind.MEMORY_ESEDI, kind.REGISTER},
            64: {kind.MEMORY_SEG_RSI, kind.MEMORY_ESRDI, kind.REGISTER},
        }

    def read(self, data: bytes, bits: int, address: int) -> Reading | None:
        decoder = self._decoder(bits, data, ip=address)
        instruction = decoder.decode()
        if not instruction:
            return None
        offsets = decoder.get_constant_offsets(instruction)
        kinds = [instruction.op_kind(n) for n in range(instruction.op_count)]
        return Reading(
            instruction.len,
            self._text(instruction, kinds, bits, 8 in (offsets.displacement_size, offsets.immediate_size)),
            self._segment(instruction.segment_prefix),
            self._displacement(offsets, bits),
            tuple(self._immediate_fields(offsets, kinds)),
            instruction.near_branch_target if kinds and kinds[0] in self._branches else None,
        )

    def _text(self, instruction: iced_x86.Instruction, kinds: _Kinds, bits: int, is_wide: bool) -> str:
        text = self._formatter.format(instruction)
        if is_wide:
            return text.replace("mov ", "movabs ", 1)
        if instruction.is_string_instruction and self._is_default_string(instruction, kinds, bits):
            return re.sub(r"\b((?:ins|outs|movs|cmps|stos|lods|scas)[bwdq]) .*", r"\1", text)
        if bits == 64 and text in _BARE_IN_64:
            return _BARE_IN_64[text]
        for pattern, spelling in _SPELLINGS:
            text = pattern.sub(spelling, text)
        return _WORD_FORMS.sub(r"\1w", text)

    def _is_default_string(self, instruction: iced_x86.Instruction, kinds: _Kinds, bits: int) -> bool:
        return not instruction.segment_prefix and self._string_memory[bits].issuperset(kinds)

    def _segment(self, register: int) -> str | None:
        return self._registers[register] if register else None

    def _displacement(self, offsets: iced_x86.ConstantOffsets, bits: int) -> Field | None:
        if not offsets.has_displacement:
            return None
        size = offsets.displacement_size
        return Field(offsets.displacement_offset, size, bits, size * 8 < bits)

    def _immediate_fields(self, offsets: iced_x86.ConstantOffsets, kinds: _Kinds) -> Iterator[Field]:
        places = [
            (offsets.immediate_offset, offsets.immediate_size),
            (offsets.immediate_offset2, offsets.immediate_size2),
        ]
        for kind in kinds:
            if kind in self._branches:
                yield Field(*places.pop(0), 0, True)
            elif kind in self._immediates:
                yield Field(*places.pop(0), *self._immediates[kind])


def _formatter() -> iced_x86.Formatter:
    import iced_x86 as iced

    formatter = iced.Formatter(iced.FormatterSyntax.INTEL)
    formatter.hex_prefix = "0x"
    formatter.hex_suffix = ""
    formatter.uppercase_hex = False
    formatter.small_hex_numbers_in_decimal = True
    formatter.branch_leading_zeros = False
    formatter.space_after_operand_separator = True
    formatter.space_between_memory_add_operators = True
    formatter.memory_size_options = iced.MemorySizeOptions.ALWAYS
    formatter.show_branch_size = False
    formatter.show_useless_prefixes = True
    formatter.rip_relative_addresses = True
    formatter.use_pseudo_ops = False
    return formatter
