"""What instructions read and write, and where they continue: iced-x86's facts in the terms of a calling contract.

Capstone is not used: its lists are empty for `cli`, `sti`, `iretd`, `sysexit` and `clts`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pvspec.x86.code import Code, Instruction, InstructionEffects, MemoryAccess, RegisterUse
from pvspec.x86.decode import decoder_library

if TYPE_CHECKING:
    import iced_x86

_BY_COUNT = ("ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SAR", "SAL", "SHLD", "SHRD")  # flags stay if the count is 0
_ENDS = ("jump", "return", "exception")


def effects(code: Code, bits: int) -> tuple[InstructionEffects, ...]:
    """Return what each instruction of assembled code does."""
    return tuple(_analyst().effects(code.data, i, bits, bool(code.holes_of(i))) for i in code.instructions)


@cache
def _analyst() -> _Analyst:
    return _Analyst()


class _Analyst:
    """iced-x86's instruction facts and its tables, built when first needed."""

    def __init__(self) -> None:
        self._iced = iced = decoder_library()
        self._facts = iced.InstructionInfoFactory()
        self._registers: dict[int, str] = {
            value: name.lower() for name, value in vars(iced.Register).items() if isinstance(value, int)
        }
        flags = vars(iced.RflagsBits).items()
        self._flags = {bit: name.lower() for name, bit in flags if name.isupper() and bit}
        access = iced.OpAccess
        self._reads = {access.READ, access.COND_READ, access.READ_WRITE, access.READ_COND_WRITE}
        self._writes = {access.WRITE, access.COND_WRITE, access.READ_WRITE, access.READ_COND_WRITE}
        self._certain = {access.READ, access.WRITE, access.READ_WRITE}
        self._kinds = _kinds(iced.FlowControl)
        self._high = {getattr(iced.Register, name): 1 for name in ("AH", "BH", "CH", "DH")}
        self._bit_tests = {getattr(iced.Mnemonic, name) for name in ("BT", "BTS", "BTR", "BTC")}
        self._may_fail = {iced.Mnemonic.VMREAD}  # it may fail, and then writes nothing, though iced says otherwise
        self._by_count = {getattr(iced.Mnemonic, name) for name in _BY_COUNT}

    def effects(self, data: bytes, source: Instruction, bits: int, has_hole: bool) -> InstructionEffects:
        window = data[source.offset : source.offset + source.size]
        instruction = self._iced.Decoder(bits, window, ip=source.offset).decode()
        facts = self._facts.info(instruction)
        kind = self._kind(instruction)
        return InstructionEffects(
            source,
            self._used(facts, self._reads, bits),
            self._used(facts, self._writes, bits),
            self._flag_names(instruction.rflags_read),
            self._flag_names(instruction.rflags_modified),
            tuple(self._access(used, instruction, bits) for used in facts.used_memory()),
            self._stack_delta(instruction, facts, kind, has_hole),
            kind,
            None if has_hole else self._target(instruction, data),
            kind not in _ENDS,
            tuple(self._use(used, instruction, bits) for used in facts.used_registers()),
            self._unsure(instruction),
            instruction.is_ip_rel_memory_operand,
        )

    def _kind(self, instruction: iced_x86.Instruction) -> str:
        direct = instruction.is_call_near or instruction.is_call_far
        indirect = instruction.is_call_near_indirect or instruction.is_call_far_indirect
        return "call" if direct or indirect else self._kinds[instruction.flow_control]

    def _used(self, facts: iced_x86.InstructionInfo, accesses: set[int], bits: int) -> frozenset[str]:
        return frozenset(self._full_name(u.register, bits) for u in facts.used_registers() if u.access in accesses)

    def _full_name(self, register: int, bits: int) -> str:
        extend = self._iced.RegisterExt
        is_general = bits == 32 and extend.is_gpr(register)
        return self._registers[extend.full_register32(register) if is_general else extend.full_register(register)]

    def _use(self, used: iced_x86.UsedRegister, instruction: iced_x86.Instruction, bits: int) -> RegisterUse:
        return RegisterUse(
            self._full_name(used.register, bits),
            self._high.get(used.register, 0),
            self._iced.RegisterExt.size(used.register),
            used.access in self._reads,
            used.access in self._writes,
            used.access in self._certain and instruction.mnemonic not in self._may_fail,
        )

    def _unsure(self, instruction: iced_x86.Instruction) -> frozenset[str]:
        counted = instruction.mnemonic in self._by_count and instruction.op_count > 1
        by_register = counted and instruction.op_kind(instruction.op_count - 1) == self._iced.OpKind.REGISTER
        repeats = instruction.has_rep_prefix or instruction.has_repne_prefix
        all_of_them = by_register or (instruction.is_string_instruction and repeats)
        return self._flag_names(instruction.rflags_modified if all_of_them else instruction.rflags_undefined)

    def _flag_names(self, mask: int) -> frozenset[str]:
        return frozenset(name for bit, name in self._flags.items() if mask & bit)

    def _access(self, used: iced_x86.UsedMemory, instruction: iced_x86.Instruction, bits: int) -> MemoryAccess:
        # a bit number in a register may be far outside the operand
        open_end = instruction.mnemonic in self._bit_tests and instruction.op1_kind == self._iced.OpKind.REGISTER
        return MemoryAccess(
            self._name(used.segment),
            self._name(used.base),
            self._name(used.index),
            used.scale,
            _signed(used.displacement, bits),
            0 if open_end else self._iced.MemorySizeExt.size(used.memory_size),
            used.access in self._reads,
            used.access in self._writes,
        )

    def _name(self, register: int) -> str | None:
        return self._registers[register] if register else None

    def _stack_delta(
        self, instruction: iced_x86.Instruction, facts: iced_x86.InstructionInfo, kind: str, has_hole: bool
    ) -> int | None:
        names = self._iced.Register
        stack = (names.SP, names.ESP, names.RSP)
        writes = [u.access for u in facts.used_registers() if u.register in stack and u.access in self._writes]
        if not writes or kind == "call":
            return 0
        if instruction.is_stack_instruction and writes == [self._iced.OpAccess.READ_WRITE]:
            return _increment(instruction, self._iced.Mnemonic)
        return None if has_hole else self._arithmetic_delta(instruction, stack)

    def _arithmetic_delta(self, instruction: iced_x86.Instruction, stack: tuple[int, ...]) -> int | None:
        mnemonics, kinds = self._iced.Mnemonic, self._iced.OpKind
        if instruction.op0_register not in stack[1:]:
            return None
        if instruction.mnemonic == mnemonics.LEA:
            is_offset = instruction.memory_base == instruction.op0_register and not instruction.memory_index
            return _signed(instruction.memory_displacement, 32) if is_offset else None
        if instruction.op_count != 2 or instruction.op1_kind in (kinds.REGISTER, kinds.MEMORY):
            return None
        amount = _signed(instruction.immediate(1), 32)
        return {mnemonics.ADD: amount, mnemonics.SUB: -amount}.get(instruction.mnemonic)

    def _target(self, instruction: iced_x86.Instruction, data: bytes) -> int | None:
        near = (self._iced.OpKind.NEAR_BRANCH32, self._iced.OpKind.NEAR_BRANCH64)
        if not instruction.op_count or instruction.op0_kind not in near:
            return None
        target = instruction.near_branch_target
        return target if target <= len(data) else None


def _kinds(flow: Any) -> dict[int, str]:
    """Map iced's control flow; its calls other than `call` itself are changes of privilege."""
    return {
        flow.NEXT: "plain",
        flow.XBEGIN_XABORT_XEND: "branch",
        flow.UNCONDITIONAL_BRANCH: "jump",
        flow.INDIRECT_BRANCH: "jump",
        flow.CONDITIONAL_BRANCH: "branch",
        flow.RETURN: "return",
        flow.CALL: "trap",
        flow.INDIRECT_CALL: "call",
        flow.INTERRUPT: "trap",
        flow.EXCEPTION: "exception",
    }


def _increment(instruction: iced_x86.Instruction, mnemonics: Any) -> int | None:
    """Return what `push` and the like add; `leave` sets the stack pointer from another register."""
    return None if instruction.mnemonic == mnemonics.LEAVE else instruction.stack_pointer_increment


def _signed(number: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return ((number & (2 * half - 1)) ^ half) - half
