"""Code that is copied to a site: what in it must be aimed anew, and how its nops are laid."""

from __future__ import annotations

from collections.abc import Callable

from pvspec.engine.errors import PatchError
from pvspec.engine.instructions import distances, instruction_length
from pvspec.engine.records import fits

_CALL, _JMP, _JMP_SHORT, _INT3 = 0xE8, 0xE9, 0xEB, b"\xcc"
_NOP, _ONE_NOP = 0x90, b"\x90"


def relocated(code: bytes, source: int, site: int, bits: int) -> bytes:
    """Code copied from `source` to `site`; a call or jump that is all of it keeps its target.

    As Linux 6.1 arch/x86/kernel/alternative.c, apply_alternatives() and recompute_jump(): a jump forward that
    8 bits reach becomes the short one, a jump back never does. PatchError: rel32 does not reach the target, which
    can only be with 64-bit addresses.
    """
    if len(code) != 5 or code[0] not in (_CALL, _JMP):
        return code
    distance = wrapped(source - site + int.from_bytes(code[1:], "little", signed=True), bits, True)
    if code[0] == _JMP and 0 <= distance + 5 <= 2 + 127:
        return bytes((_JMP_SHORT, distance + 5 - 2 & 0xFF))
    return code[:1] + _cell(distance, 4, source)


def relocated_throughout(code: bytes, source: int, site: int, bits: int) -> bytes:
    """Code copied from `source` to `site`; what leads out of it, by a branch or rip-relative, still leads there.

    As Linux 6.12 arch/x86/kernel/alternative.c, __apply_relocation(): a jump that 8 bits reach becomes the short one,
    with int3 in place of what is left of it. PatchError: a distance does not reach.
    """
    copy, at = bytearray(code), 0
    while size := instruction_length(code, at, bits):
        end = at + size
        for field in distances(code[at:end], bits):
            place = slice(at + field.at, at + field.at + field.size)
            distance = int.from_bytes(code[place], "little", signed=True)
            moved = wrapped(distance + source - site, bits, True)
            if not 0 <= end + distance <= len(code):
                copy[place] = _cell(moved, field.size, source + at)
            if code[at] == _JMP and -128 <= moved + size - 2 < 128:
                copy[at:end] = bytes((_JMP_SHORT, moved + size - 2 & 0xFF)).ljust(size, _INT3)
        at = end
    return bytes(copy)


def _cell(distance: int, size: int, source: int) -> bytes:
    if not fits(distance, 8 * size, True):
        raise PatchError(f"the target of the code at {source:#x} is out of reach")
    return distance.to_bytes(size, "little", signed=True)


def ones_relaid(code: bytes, nops: Callable[[int], bytes], bits: int) -> bytes:
    """The code with each run of one-byte nops laid anew; `nops` gives so many bytes of them.

    As Linux 6.1 arch/x86/kernel/alternative.c, optimize_nops(): a run begins where an instruction does, and what does
    not decode ends the search.
    """
    laid, at, one = bytearray(code), 0, nops(1)[0]
    while at < len(laid):
        end = at
        while end < len(laid) and laid[end] == one:
            end += 1
        laid[at:end] = nops(end - at)
        size = instruction_length(laid, end, bits) if end == at else 0
        if end == at and not size:
            break
        at = end + size
    return bytes(laid)


def all_relaid(code: bytes, nops: Callable[[int], bytes], bits: int) -> bytes:
    """The code with each run of nops, of whatever size, laid anew; what does not decode ends the search.

    As Linux 6.12 arch/x86/kernel/alternative.c, optimize_nops(): a single nop at the very end stays.
    """
    laid, at = bytearray(code), 0
    while size := instruction_length(laid, at, bits):
        start, at = at, at + size
        if _is_nop(laid, start, size) and at < len(laid):
            at = _behind_nops(laid, at, bits)
            laid[start:at] = nops(at - start)
    return bytes(laid)


def _behind_nops(code: bytearray, at: int, bits: int) -> int:
    while at < len(code):
        if code[at] != _NOP:
            size = instruction_length(code, at, bits)
            if not size or not _is_nop(code, at, size):
                break
            at += size
        else:
            at = len(code) - len(code[at:].lstrip(_ONE_NOP))
    return at


def _is_nop(code: bytearray, at: int, size: int) -> bool:
    """Whether the instruction is nop or nopl, with whatever prefix, but for pause."""
    opcode = bytes(code[at : at + size]).lstrip(b"\x66\x2e\x3e\x26\x36\x64\x65\x67" + bytes(range(0x40, 0x50)))
    return opcode[:1] == b"\x90" or opcode[:2] == b"\x0f\x1f"


def wrapped(value: int, bits: int, signed: bool) -> int:
    """A number as so many bits hold it: addresses and distances wrap."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits) if signed else value
