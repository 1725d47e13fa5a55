"""Machine code with holes: what the assembling stage hands to the stages behind it."""

from __future__ import annotations

from pvspec.engine.value import Value


class Hole(Value):
    """A field of the code that is filled when a site is patched, like a relocation record.

    `offset`, `size` and `end` count bytes within the code; `end` is the end of the hole's instruction.
    An absolute hole takes symbol + addend, a relative one symbol + addend - (site + end).
    `signed`: the CPU sign-extends the field, so in 64-bit mode the value must fit it as a signed number,
    and otherwise as an unsigned one; a 4-byte field of a 32-bit machine takes any value modulo 2**32.
    """

    offset: int
    size: int
    relative: bool
    symbol: str
    addend: int
    end: int
    signed: bool


class Instruction(Value):
    """One instruction: its place in the code (bytes), its canonical disassembly, the statement it came from.

    `source` is empty where there is none, that is, in a disassembly.
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


class MemoryAccess(Value):
    """One access to memory: its address `segment:[base + index*scale + displacement]` and what is done there.

    `size` is in bytes, 0 where the instruction does not fix it; a hole's displacement is 0.
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

    `register` is the full-width name; `offset` and `size` count bytes in it. `certain`: what is written is
    written whatever the values are (not so for `cmov`, `bsf` of 0, or a repeated string instruction).
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
    whose callee returns), and None where it is not known.
    `kind`: plain, branch (conditional), jump, call, return, trap (int, syscall, hypercalls), exception (ud2).
    `uses` tells of registers part by part. `flags_unsure` are those of `flags_written` that hold nothing to rely on:
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
