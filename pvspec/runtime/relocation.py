"""Code that is copied to a site: what in it must be aimed anew, and how its nops are laid."""

from __future__ import annotations

from collections.abc import Callable

from pvspec.runtime.lengths import distances, instruction_length
from pvspec.runtime.records import fits
from pvspec.runtime.rules import PatchError

_CALL, _JMP, _JMP_SHORT, _INT3 = 0xE8, 0xE9, 0xEB, b"\xcc"


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
        instruction, end = code[at : at + size], at + size
        for field in distances(instruction, bits):
            place = at + field.at
            distance = int.from_bytes(code[place : place + field.size], "little", signed=True)
            if not 0 <= end + distance < len(code):
                distance = wrapped(distance + source - site, bits, True)
                copy[place : place + field.size] = _cell(distance, field.size, source + at)
            if instruction[0] == _JMP and -128 <= distance + size - 2 < 128:
                short = bytes((_JMP_SHORT, distance + size - 2 & 0xFF))
                copy[at:end] = short.ljust(size, _INT3)
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
    """The code with each run of nops, of whatever size, laid anew; a jump that leads behind the run is part of it.

    As Linux 6.12 arch/x86/kernel/alternative.c, optimize_nops() and add_nop().
    """
    laid, at = bytearray(code), 0
    jump, target = 0, -1  # the last jump, with only nops behind it, and where it leads
    while size := instruction_length(laid, at, bits):
        if laid[at] in (_JMP_SHORT, _JMP):
            jump = at
            target = at + size + int.from_bytes(laid[at + 1 : at + size], "little", signed=True)
        elif _is_nop(laid, at, size):
            start, at, size = at, _behind_nops(laid, at, bits), 0
            start = jump if at == target else start
            laid[start:at] = nops(at - start)
        else:
            target = -1
        at += size
    return bytes(laid)


def _behind_nops(code: bytearray, at: int, bits: int) -> int:
    while (size := instruction_length(code, at, bits)) and _is_nop(code, at, size):
        at += size
    return at


def _is_nop(code: bytearray, at: int, size: int) -> bool:
    """Whether the instruction is nop or nopl, prefixed or not, but for pause."""
    opcode = bytes(code[at : at + size]).lstrip(b"\x66\x2e\x3e\x26\x36\x64\x65\x67")
    return opcode[:1] == b"\x90" or opcode[:2] == b"\x0f\x1f"


def wrapped(value: int, bits: int, signed: bool) -> int:
    """A number as so many bits hold it: addresses and distances wrap."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits) if signed else value
