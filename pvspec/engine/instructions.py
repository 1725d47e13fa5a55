"""Lengths of x86 instructions: where one ends and the next begins, and what in it counts from there.

After Linux 6.1, arch/x86/lib/insn.c, by which the kernel itself walks over the instructions of a site; but as CPUs do
for `pushw $imm16` in 64-bit code, prefixes after REX, and opcodes newer than its map. Whether a CPU would run the
instruction is not asked, but for opcodes that nobody has defined, of which no length is known. AMD's XOP and SSE4A,
which no kernel contains, are not told from the pop and vmread that share their opcodes.
"""

from __future__ import annotations

from typing import NamedTuple

_LONGEST = 15  # bytes: a longer instruction is a general protection fault

_LEGACY_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3"

# A hypervisor's `ud2; .ascii "xen"` (or "kvm") makes it emulate the instruction after it: the kernel's decoder takes it
# for a prefix of that (Linux 6.1, arch/x86/include/asm/emulate_prefix.h).
_EMULATE_PREFIXES = (b"\x0f\x0bxen", b"\x0f\x0bkvm")

# What follows an opcode, by its form. Memory operands, after a ModRM byte:
#   m  nothing    M  imm8    Z  imm16 or imm32    t, T  as M and Z, but only for TEST, which is ModRM.reg 0 and 1
# No memory operand:
#   .  nothing    b  imm8    w  imm16    e  imm16 and imm8    z  imm16 or imm32    v  as z, or imm64 with REX.W
#   j  relative branch    o  address of memory    p  offset and segment
#   x  undefined opcode, or one that is read elsewhere: prefix, escape
_MODRM = frozenset("mMZtT")

# By opcode: a line of each map is 16 of them.
_ONE_BYTE = (
    "mmmmbz..mmmmbz.x"  # 00 add, or
    "mmmmbz..mmmmbz.."  # 10 adc, sbb
    "mmmmbzx.mmmmbzx."  # 20 and, sub
    "mmmmbzx.mmmmbzx."  # 30 xor, cmp
    "................"  # 40 inc, dec
    "................"  # 50 push, pop
    "..mmxxxxzZbM...."  # 60
    "bbbbbbbbbbbbbbbb"  # 70 jcc
    "MZMMmmmmmmmmmmmm"  # 80
    "..........p....."  # 90
    "oooo....bz......"  # a0
    "bbbbbbbbvvvvvvvv"  # b0 mov
    "MMw.mmMZe.w..b.."  # c0
    "mmmmbb..mmmmmmmm"  # d0
    "bbbbbbbbjjpb...."  # e0
    "x.xx..tT......mm"  # f0
)
_TWO_BYTE = (
    "mmmmx.....x.xm.M"  # 0f 00
    "mmmmmmmmmmmmmmmm"  # 0f 10
    "mmmmxxxxmmmmmmmm"  # 0f 20
    "......x.xxxxxxxx"  # 0f 30
    "mmmmmmmmmmmmmmmm"  # 0f 40 cmovcc
    "mmmmmmmmmmmmmmmm"  # 0f 50
    "mmmmmmmmmmmmmmmm"  # 0f 60
    "MMMMmmm.mmmmmmmm"  # 0f 70; with VEX vzeroupper for emms
    "jjjjjjjjjjjjjjjj"  # 0f 80 jcc
    "mmmmmmmmmmmmmmmm"  # 0f 90 setcc
    "...mMmmm...mMmmm"  # 0f a0
    "mmmmmmmmmmMmmmmm"  # 0f b0
    "mmMmMMMm........"  # 0f c0
    "mmmmmmmmmmmmmmmm"  # 0f d0
    "mmmmmmmmmmmmmmmm"  # 0f e0
    "mmmmmmmmmmmmmmm."  # 0f f0
)
_ALL_MODRM = "m" * 256
# By number, as VEX and EVEX name them: 0f, 0f 38, 0f 3a, and two of EVEX alone
_MAPS = {1: _TWO_BYTE, 2: _ALL_MODRM, 3: "M" * 256, 5: _ALL_MODRM, 6: _ALL_MODRM}
_ESCAPES = {0x38: 2, 0x3A: 3}  # after 0f

_UNDEFINED_IN_64_BIT = b"\x06\x07\x0e\x16\x17\x1e\x1f\x27\x2f\x37\x3f\x60\x61\x82\x9a\xce\xd4\xd5\xd6\xea"

_DOTS = frozenset(bytes((opcode,)) for opcode in range(256) if _ONE_BYTE[opcode] == ".")
_NO_DOTS_IN_64_BIT = frozenset(bytes((byte,)) for byte in (*_UNDEFINED_IN_64_BIT, *range(0x40, 0x50)))  # and REX
_SINGLES = {32: _DOTS, 64: _DOTS - _NO_DOTS_IN_64_BIT}  # that is all: these need no look at what follows

_DISPLACEMENTS = {2: (0, 1, 2), 4: (0, 1, 4), 8: (0, 1, 4)}  # bytes, by size of address and ModRM.mod


class _UndefinedError(Exception):
    """The bytes are no instruction."""


def instruction_length(code: bytes | bytearray | memoryview, at: int, bits: int) -> int:
    """The length in bytes of the instruction at offset `at` of 32- or 64-bit code.

    0 if there is none: an undefined opcode, more than 15 bytes, or the code ends before the instruction does.
    Branches have rel32 in 64-bit mode whatever their prefixes, as on Intel's CPUs.
    """
    window = bytes(code[at : at + _LONGEST])
    if window[:1] in _SINGLES[bits]:
        return 1
    try:
        end = _end(window, bits == 64)
    except (IndexError, _UndefinedError):
        return 0
    return end if end <= len(window) else 0


class Distance(NamedTuple):
    """A field of an instruction that counts from the instruction's end: its offset in the instruction and its bytes."""

    at: int
    size: int


def distances(code: bytes, bits: int) -> list[Distance]:
    """The distances in the one instruction that `code` is: that of a branch, that of a rip-relative operand.

    As Linux 6.12, arch/x86/kernel/alternative.c, __apply_relocation(): jcc, jmp and call; loops and jcxz do not leave
    what they are in.
    """
    at, _, _ = _prefixes(code, bits == 64)
    form, end = _opcode(code, at, bits == 64)
    if form in _MODRM:
        relative = bits == 64 and code[end] & 0xC7 == 5  # eip-relative, too: the kernel asks for no prefix
        return [Distance(end + 1, 4)] if relative else []
    if code[at] in _SHORT_BRANCHES:
        return [Distance(end, 1)]
    is_near = code[at] in _NEAR_BRANCHES or (code[at] == 0x0F and code[at + 1] & 0xF0 == 0x80)
    return [Distance(end, len(code) - end)] if is_near else []


_SHORT_BRANCHES = bytes([*range(0x70, 0x80), 0xEB])
_NEAR_BRANCHES = b"\xe8\xe9"


def _end(code: bytes, is_64_bit: bool) -> int:
    """Where the instruction ends that starts `code`, if need be after the end of `code`."""
    at, operand, address = _prefixes(code, is_64_bit)
    form, at = _opcode(code, at, is_64_bit)
    if form in _MODRM:
        modrm, at = code[at], _memory(code, at, address)
        if form in "tT":
            form = "m" if modrm & 0x30 else "M" if form == "t" else "Z"
    return at + _immediates(form, operand, address, is_64_bit)


def _prefixes(code: bytes, is_64_bit: bool) -> tuple[int, int, int]:
    """Where the prefixes end, and the sizes in bytes of operands and addresses."""
    at = 5 if code.startswith(_EMULATE_PREFIXES) else 0
    operand, address, is_wide = 4, 8 if is_64_bit else 4, False
    while (byte := code[at]) in _LEGACY_PREFIXES or (is_64_bit and byte & 0xF0 == 0x40):
        if byte == 0x66:
            operand = 2
        elif byte == 0x67:
            address = 4 if is_64_bit else 2
        is_wide = byte & 0xF8 == 0x48  # REX.W, which only counts as the last prefix
        at += 1
    return at, 8 if is_wide else operand, address


def _opcode(code: bytes, at: int, is_64_bit: bool) -> tuple[str, int]:
    """The form of the opcode at `at`, and the offset after it."""
    byte = code[at]
    if byte == 0x0F:
        number = _ESCAPES.get(code[at + 1], 1)
        at += 1 if number == 1 else 2
    elif byte in b"\xc4\xc5\x62" and (is_64_bit or code[at + 1] >= 0xC0):  # else les, lds, bound: of memory only
        number, at = _vex(code, at)
    elif is_64_bit and byte in _UNDEFINED_IN_64_BIT:
        raise _UndefinedError
    else:
        return _ONE_BYTE[byte], at + 1
    form = _MAPS[number][code[at]]
    if form == "x":
        raise _UndefinedError
    return form, at + 1


def _vex(code: bytes, at: int) -> tuple[int, int]:
    """The number of the map that a VEX or EVEX prefix names, and the offset after the prefix."""
    byte = code[at]
    if byte == 0xC5:
        return 1, at + 2
    number, size = (code[at + 1] & 0x07, 4) if byte == 0x62 else (code[at + 1] & 0x1F, 3)
    if number not in _MAPS:
        raise _UndefinedError
    return number, at + size


def _memory(code: bytes, at: int, address: int) -> int:
    """The offset after the ModRM byte at `at`, its SIB byte and displacement."""
    mod, register = code[at] >> 6, code[at] & 7
    at += 1
    if mod == 3:
        return at
    absolute = 6 if address == 2 else 5  # with mod 0 a displacement instead of this register
    if register == 4 and address != 2:
        register = code[at] & 7
        at += 1
    return at + _DISPLACEMENTS[address][2 if mod == 0 and register == absolute else mod]


def _immediates(form: str, operand: int, address: int, is_64_bit: bool) -> int:
    """The size in bytes of what follows the opcode, or the ModRM byte and what belongs to it."""
    if form in ".m":
        return 0
    if form in "bM":
        return 1
    word = min(operand, 4)
    return {"w": 2, "e": 3, "v": operand, "j": 4 if is_64_bit else word, "o": address, "p": word + 2}.get(form, word)
