"""Read machine code back: the door to the disassemblers.

iced-x86 reads every assembled instruction: it shares no tables with keystone, whereas capstone, like keystone, comes
from LLVM and would share its mistakes. Capstone, slow to import, is the witness for bytes that nobody here assembled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pvspec.intel import SEGMENTS
from pvspec.machinecode import Code, Instruction, InstructionEffects, MemoryAccess

if TYPE_CHECKING:
    import iced_x86

BAD = "(bad)"
# iced's spelling on the left, on the right the one that GNU as takes for the same bytes
_SPELLINGS = (
    (re.compile(r"^data64 ret far\b"), "retfq"),
    (re.compile(r"\bret far\b"), "retf"),
    (re.compile(r"\bfar ([ft])(?=word|byte)"), r"\1"),
    (re.compile(r"^xlat byte ptr \[[er]?bx\]"), "xlatb"),
    (re.compile(r"\bhint-not-taken "), "cs "),
    (re.compile(r"\bhint-taken "), "ds "),
    (re.compile(r"^(lea|sgdt|sidt|lgdt|lidt)(.*?)(?:[ft]word|tbyte) ptr "), r"\1\2"),
    (re.compile(r"\bst(?=,|$)"), "st(0)"),
)
_WORD_FORMS = re.compile(
    r"^(pushf|popf|iret|pusha|popa)$"
)  # unsuffixed, iced means 16 bits and GNU as the mode's width
_BARE_IN_64 = {"sysret": "sysretd", "sysexit": "sysexitd"}


@dataclass(frozen=True, slots=True)
class Field:
    """An immediate or displacement within one instruction, in bytes; `width` is what it is extended to, in bits."""

    offset: int
    size: int
    width: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """One decoded instruction.

    `segment` is the segment prefix, written in `text` or not; `memory_size` is in bytes, 0 for none; `target` is where
    a branch goes; `immediates` are in the operands' order.
    """

    size: int
    text: str
    segment: str | None
    memory_size: int
    displacement: Field | None
    immediates: tuple[Field, ...]
    target: int | None


def read(data: bytes, bits: int, address: int = 0) -> Reading | None:
    """Decode the first instruction of `data`, None if it is not a valid one."""
    return _iced().read(data, bits, address)


def disassemble(data: bytes, bits: int, address: int = 0) -> tuple[Instruction, ...]:
    """Disassemble bytes that lie at `address`; offsets count from the start of `data`.

    A byte that neither decoder can begin an instruction with becomes an instruction `(bad)` of one byte.
    """
    return tuple(_disassemble(data, bits, address))


def effects(code: Code, bits: int) -> tuple[InstructionEffects, ...]:
    """Tell what each instruction of `code` reads, writes and where it goes on."""
    relative_ends = {hole.end for hole in code.holes if hole.relative}
    return tuple(
        _iced().effects(code.data, i, bits, i.offset + i.size in relative_ends) for i in code.instructions
    )


def _disassemble(data: bytes, bits: int, address: int) -> Iterator[Instruction]:
    offset = 0
    while offset < len(data):
        window = data[offset : offset + 15]  # no x86 instruction is longer
        reading = read(window, bits, address + offset)
        size, text = (
            (reading.size, reading.text) if reading else _second_opinion(window, bits, address + offset)
        )
        yield Instruction(offset, size, text, "")
        offset += size


def _second_opinion(data: bytes, bits: int, address: int) -> tuple[int, str]:
    """Ask capstone, which knows old and undocumented opcodes; it is not asked first as it splits `0f b9 cc`."""
    for _, size, mnemonic, operands in _capstone(bits).disasm_lite(data, address, 1):
        return size, f"{mnemonic} {operands}".rstrip()
    return 1, BAD


@cache
def _capstone(bits: int) -> Any:
    import capstone

    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_64)


@cache
def _iced() -> _Iced:
    return _Iced()


class _Iced:
    """iced-x86 and its tables, imported and built when first needed."""

    def __init__(self) -> None:
        import iced_x86 as iced

        self._iced = iced
        self._formatter = _formatter(iced)
        self._facts = iced.InstructionInfoFactory()
        self._flags = {
            value: name.lower() for name, value in vars(iced.RflagsBits).items() if name.isupper() and value
        }
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
        flow = iced.FlowControl
        self._kinds = {
            flow.NEXT: "plain",
            flow.XBEGIN_XABORT_XEND: "branch",
            flow.UNCONDITIONAL_BRANCH: "jump",
            flow.INDIRECT_BRANCH: "jump",
            flow.CONDITIONAL_BRANCH: "branch",
            flow.RETURN: "return",
            flow.CALL: "call",
            flow.INDIRECT_CALL: "call",
            flow.INTERRUPT: "trap",
            flow.EXCEPTION: "exception",
        }

    def read(self, data: bytes, bits: int, address: int) -> Reading | None:
        decoder = self._iced.Decoder(bits, data, ip=address)
        instruction = decoder.decode()
        if not instruction:
            return None
        offsets = decoder.get_constant_offsets(instruction)
        kinds = [instruction.op_kind(n) for n in range(instruction.op_count)]
        return Reading(
            instruction.len,
            self._text(instruction, kinds, bits, 8 in (offsets.displacement_size, offsets.immediate_size)),
            self._segment(instruction.segment_prefix),
            self._iced.MemorySizeExt.size(instruction.memory_size),
            self._displacement(offsets, bits),
            tuple(self._immediate_fields(offsets, kinds)),
            instruction.near_branch_target if kinds and kinds[0] in self._branches else None,
        )

    def effects(
        self, data: bytes, source: Instruction, bits: int, target_is_hole: bool
    ) -> InstructionEffects:
        window = data[source.offset : source.offset + source.size]
        instruction = self._iced.Decoder(bits, window, ip=source.offset).decode()
        facts = self._facts.info(instruction)
        kind = self._kind(instruction)
        return InstructionEffects(
            source,
            self._used(facts, self._is_read, bits),
            self._used(facts, self._is_written, bits),
            self._flag_names(instruction.rflags_read),
            self._flag_names(instruction.rflags_modified),
            tuple(map(self._access, facts.used_memory())),
            self._stack_delta(instruction, facts, kind),
            kind,
            self._target(instruction, data, target_is_hole),
            kind not in ("jump", "return", "exception"),
        )

    def _text(self, instruction: iced_x86.Instruction, kinds: list[int], bits: int, is_wide: bool) -> str:
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

    def _is_default_string(self, instruction: iced_x86.Instruction, kinds: list[int], bits: int) -> bool:
        return not instruction.segment_prefix and self._string_memory[bits].issuperset(kinds)

    def _segment(self, register: int) -> str | None:
        return self._registers[register] if register else None

    def _displacement(self, offsets: iced_x86.ConstantOffsets, bits: int) -> Field | None:
        if not offsets.has_displacement:
            return None
        size = offsets.displacement_size
        return Field(offsets.displacement_offset, size, bits, size * 8 < bits)

    def _immediate_fields(self, offsets: iced_x86.ConstantOffsets, kinds: list[int]) -> Iterator[Field]:
        places = [
            (offsets.immediate_offset, offsets.immediate_size),
            (offsets.immediate_offset2, offsets.immediate_size2),
        ]
        for kind in kinds:
            if kind in self._branches:
                yield Field(*places.pop(0), 0, True)
            elif kind in self._immediates:
                yield Field(*places.pop(0), *self._immediates[kind])

    def _kind(self, instruction: iced_x86.Instruction) -> str:
        kind = self._kinds[instruction.flow_control]
        is_call = instruction.is_call_near or instruction.is_call_far
        is_call = is_call or instruction.is_call_near_indirect or instruction.is_call_far_indirect
        return "trap" if kind == "call" and not is_call else kind

    def _is_read(self, access: int) -> bool:
        names = self._iced.OpAccess
        return access in (names.READ, names.COND_READ, names.READ_WRITE, names.READ_COND_WRITE)

    def _is_written(self, access: int) -> bool:
        names = self._iced.OpAccess
        return access in (names.WRITE, names.COND_WRITE, names.READ_WRITE, names.READ_COND_WRITE)

    def _used(self, facts: iced_x86.InstructionInfo, is_used: Any, bits: int) -> frozenset[str]:
        return frozenset(self._full(u.register, bits) for u in facts.used_registers() if is_used(u.access))

    def _full(self, register: int, bits: int) -> str:
        extend = self._iced.RegisterExt
        full = extend.full_register32 if bits == 32 and extend.is_gpr(register) else extend.full_register
        return self._registers[full(register)]

    def _flag_names(self, mask: int) -> frozenset[str]:
        return frozenset(name for bit, name in self._flags.items() if mask & bit)

    def _access(self, used: iced_x86.UsedMemory) -> MemoryAccess:
        displacement = used.displacement
        displacement -= (1 << 64) * (displacement >> 63)
        return MemoryAccess(
            self._segment(used.segment),
            self._segment(used.base),
            self._segment(used.index),
            used.scale,
            displacement,
            self._iced.MemorySizeExt.size(used.memory_size),
            self._is_read(used.access),
            self._is_written(used.access),
        )

    def _stack_delta(
        self, instruction: iced_x86.Instruction, facts: iced_x86.InstructionInfo, kind: str
    ) -> int | None:
        names = self._iced.Register
        stack = (names.ESP, names.RSP, names.SP)
        writes = [u for u in facts.used_registers() if u.register in stack and self._is_written(u.access)]
        if not writes or kind == "call":
            return 0
        if (
            instruction.is_stack_instruction
            and len(writes) == 1
            and writes[0].access == self._iced.OpAccess.READ_WRITE
        ):
            return instruction.stack_pointer_increment
        return self._arithmetic_delta(instruction, stack)

    def _arithmetic_delta(self, instruction: iced_x86.Instruction, stack: tuple[int, ...]) -> int | None:
        mnemonics, kind = self._iced.Mnemonic, self._iced.OpKind
        if instruction.op0_register not in stack:
            return None
        if instruction.mnemonic == mnemonics.LEA:
            plain = instruction.memory_base in stack and not instruction.memory_index
            return _signed(instruction.memory_displacement) if plain else None
        if instruction.op1_kind not in self._immediates or instruction.op1_kind == kind.IMMEDIATE64:
            return None
        amount = _signed(instruction.immediate(1))
        return {mnemonics.ADD: amount, mnemonics.SUB: -amount}.get(instruction.mnemonic)

    def _target(self, instruction: iced_x86.Instruction, data: bytes, is_hole: bool) -> int | None:
        if is_hole or not instruction.op_count or instruction.op0_kind not in self._branches:
            return None
        target = instruction.near_branch_target
        return target if target <= len(data) else None


def _signed(number: int) -> int:
    """Take a 32-bit or a sign-extended 64-bit number for what it means in an addition to a stack pointer."""
    return ((number & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def _formatter(iced: Any) -> iced_x86.Formatter:
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
    return formatter  # type: ignore[no-any-return]


__all__ = ["BAD", "SEGMENTS", "Field", "Reading", "disassemble", "effects", "read"]
