"""Assembled code, and what its instructions do. `Hole` is the engine's: a field that is filled at each site."""

from __future__ import annotations

from collections.abc import Mapping

from pvspec.engine.spec import Hole
from pvspec.engine.value import Value

__all__ = ["Code", "Hole", "Instruction", "InstructionEffects", "MemoryAccess", "RegisterUse"]


class Instruction(Value):
    """One instruction: its offset and size in bytes, its canonical disassembly, and the statement it came from.

    `source` is empty in a disassembly.
    """

    offset: int
    size: int
    text: str
    source: str


class Code(Value):
    """Assembled bytes, zero at the holes; holes and instructions are sorted by offset."""

    data: bytes
    holes: tuple[Hole, ...]
    instructions: tuple[Instruction, ...]

    def holes_of(self, instruction: Instruction) -> tuple[Hole, ...]:
        """The holes within one of the instructions."""
        start, end = instruction.offset, instruction.offset + instruction.size
        return tuple(hole for hole in self.holes if start <= hole.offset < end)

    def filled(self, address: int, symbols: Mapping[str, int]) -> bytes:
        """The bytes at `address`, each hole filled modulo its size; KeyError for a symbol that is missing.

        This is for code that is known to fit, such as in a test or a proof. The engine, which patches kernels, fills
        holes itself and refuses a value that does not fit.
        """
        data = bytearray(self.data)
        for hole in self.holes:
            value = symbols[hole.symbol] + hole.addend - (address + hole.end if hole.relative else 0)
            data[hole.offset : hole.offset + hole.size] = (value % (1 << 8 * hole.size)).to_bytes(hole.size, "little")
        return bytes(data)


class MemoryAccess(Value):
    """One access to memory: its address `segment:[base + index*scale + displacement]` and what is done there.

    `size` is in bytes, 0 if the instruction does not fix it; a hole's displacement is 0.
    """

    segment: str | None
    base: str | None
    index: str | None
    scale: int
    displacement: int
    size: int
    read: bool
    written: bool


class RegisterUse(Value):
    """What an instruction does with a register or a part of one.

    `register` is the full-width name; `offset` and `size` count bytes in it. `certain`: the write happens
    for all values (not so for `cmov`, `bsf` of 0, or a repeated string instruction).
    """

    register: str
    offset: int
    size: int
    read: bool
    written: bool
    certain: bool


class InstructionEffects(Value):
    """What one instruction does.

    Registers go by their full-width names (`eax` in 32-bit code, `rax` in 64-bit code, `zmm0`), flags by theirs
    (`cf`, `zf`, `if` …). What is written on some paths only, or left undefined, counts as written.
    `stack_delta` is the change of the stack pointer in bytes, as seen by the next instruction (so 0 for a call,
    whose callee returns), and None if it is unknown.
    `kind`: plain, branch (conditional), jump, call, return, trap (int, syscall, hypercalls), exception (ud2).
    `uses` lists registers part by part. `flags_unsure` are those of `flags_written` that are not reliable:
    undefined, or unchanged if a count is 0. `ip_relative`: memory is addressed from the instruction pointer.
    `target` is the offset of a branch's target within the code, None for a hole or an indirect branch.
    """

    instruction: Instruction
    reads: frozenset[str]
    writes: frozenset[str]
    flags_read: frozenset[str]
    flags_written: frozenset[str]
    memory: tuple[MemoryAccess, ...]
    stack_delta: int | None
    kind: str
    target: int | None
    falls_through: bool
    uses: tuple[RegisterUse, ...] = ()
    flags_unsure: frozenset[str] = frozenset()
    ip_relative: bool = False
