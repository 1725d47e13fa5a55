"""Model to program: every emitter assembled to code with holes."""

from __future__ import annotations

from collections.abc import Mapping

from pvspec import model
from pvspec.asm.assembler import AsmErrors, assemble
from pvspec.asm.decode import disassemble
from pvspec.asm.kept import Kept
from pvspec.diagnostics import Findings
from pvspec.machinecode import Code, Hole, Instruction
from pvspec.resources import cache_directory
from pvspec.runtime.rules import Value

_OPCODES = {"call": b"\xe8", "jmp": b"\xe9"}


class Program(Value):
    """A model, and the code of each arm that emits any; an arm whose code is wrong is missing."""

    spec: model.Spec
    code: Mapping[model.Arm, Code]


def assemble_spec(spec: model.Spec, findings: Findings) -> Program:
    """The program of a model; statements that cannot be assembled are findings."""
    code: dict[model.Arm, Code] = {}
    kept = Kept(cache_directory())
    for arm in spec.arms():
        emitted = _emit(arm, spec.machine.bits, kept, findings) if arm.emits else None
        if emitted is not None:
            code[arm] = emitted
    kept.save()
    return Program(spec, code)


def _emit(arm: model.Arm, bits: int, kept: Kept, findings: Findings) -> Code | None:
    match arm.action:
        case model.Assembly():
            return _assembled(arm.action, arm, bits, kept, findings)
        case model.RawBytes():
            return _raw(arm.action, bits, findings)
        case model.Branch():
            return branch(arm.action)
    return Code(b"", (), ())


def _assembled(action: model.Assembly, arm: model.Arm, bits: int, kept: Kept, findings: Findings) -> Code | None:
    try:
        return assemble(action.source.value, bits, arm.symbols.keys(), kept)
    except AsmErrors as errors:
        for error in errors.errors:
            place = action.source.span.part(error.start, error.end)
            findings.add("PV401", error.message, (place, ""), help=error.help)
    return None


def _raw(action: model.RawBytes, bits: int, findings: Findings) -> Code | None:
    if action.partial:
        return Code(action.data, (), (Instruction(0, len(action.data), "", ""),))
    instructions = disassemble(action.data, bits)
    bad = [instruction for instruction in instructions if instruction.text == "(bad)"]
    if bad:
        left = action.data[bad[0].offset :].hex(" ")
        findings.add("PV402", "bytes that are no instructions", (action.source.span, f"from `{left}` on"))
        return None
    return Code(action.data, (), instructions)


def branch(action: model.Branch) -> Code:
    """`call` or `jmp`: the opcode and a rel32, 5 bytes, or a rel8, 2 bytes; one more with a prefix."""
    opcode = (b"\x2e" if action.prefixed else b"") + (b"\xeb" if action.short else _OPCODES[action.mnemonic])
    size = 1 if action.short else 4
    end = len(opcode) + size
    hole = Hole(len(opcode), size, relative=True, symbol=action.symbol, addend=action.addend, end=end, signed=True)
    instruction = Instruction(0, end, f"{action.mnemonic} {action.symbol}", "")
    return Code(opcode + bytes(size), (hole,), (instruction,))
