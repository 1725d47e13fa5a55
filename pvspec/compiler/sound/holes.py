"""Whether every address that a hole may be filled with fits it, from every site."""

from __future__ import annotations

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.spans import instruction_span
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings
from pvspec.x86.code import Code, Hole, Instruction


def check_holes(program: Program, findings: Findings) -> None:
    """PV409 for each hole that some address of the machine's `text` does not fit; without `text` this is unknown."""
    text, bits = program.spec.text, program.spec.machine.bits
    if text is None:
        return
    for arm in program.spec.arms():
        for hole in program.code[arm].holes if arm in program.code else ():
            if hole.symbol in arm.symbols and not reaches(hole, text, bits):
                code = program.code[arm]
                why = f"`{hole.symbol}` may be anywhere from {text[0]:#x} to {text[1]:#x}"
                findings.add(
                    "PV409",
                    f"a field of {8 * hole.size} bits that an address does not fit",
                    (instruction_span(arm, code, _around(hole, code)), why),
                    help="use an instruction with a wider field",
                )


def reaches(hole: Hole, text: tuple[int, int], bits: int) -> bool:
    """Whether a hole can hold any address in `text`; a relative hole, from any site there.

    On 32 bits distances wrap: there 4 bytes reach everything.
    """
    start, last = text[0], text[1] - 1
    low, high = start + hole.addend, last + hole.addend
    if hole.relative:
        low, high = low - (last + 1), high - (start + hole.end)
    elif hole.signed:
        low, high = _signed(low, bits), _signed(high, bits)
    if bits == 32 and hole.size == 4:
        return True
    half = 1 << (8 * hole.size - 1)
    bounds = (-half, half) if hole.relative or hole.signed else (0, 2 * half)
    return bounds[0] <= low <= high < bounds[1]


def _signed(number: int, bits: int) -> int:
    return number - (number >> (bits - 1) << bits)


def _around(hole: Hole, code: Code) -> Instruction:
    return next(one for one in code.instructions if one.offset <= hole.offset < one.offset + one.size)


def undecided(arm: model.Arm, program: Program) -> bool:
    """Whether it depends on the site if a hole of this arm's code reaches its target."""
    bits = program.spec.machine.bits
    holes = program.code[arm].holes if arm in program.code else ()
    wide = {hole for hole in holes if hole.size == bits // 8}
    return any(program.spec.text is None or hole.symbol not in arm.symbols for hole in holes if hole not in wide)
