"""From model to program: every emitter is assembled to code with holes."""

from __future__ import annotations

from collections.abc import Mapping

from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings, count
from pvspec.support.cache import user_cache
from pvspec.x86.assembler import AsmErrors, assemble, statements
from pvspec.x86.code import Code, Hole, Instruction
from pvspec.x86.decode import disassemble
from pvspec.x86.effects import effects
from pvspec.x86.statements import StatementCache

MAX_INSTRUCTIONS = 256
"""Instructions of the code of one arm, where it is read as instructions; longer code is refused (PV003)."""
_OPCODES = {"call": b"\xe8", "jmp": b"\xe9"}
_STATEMENT, _BYTE = 300, 10  # units of work that a statement costs, and a byte that is disassembled


class Program(Value):
    """A model, the code of each arm that emits any, and for each `keeps` an instruction with its operand.

    Code that could not be assembled is missing.
    """

    spec: model.Spec
    code: Mapping[model.Arm, Code]
    shadows: Mapping[model.Shadow, Code]


def assemble_spec(spec: model.Spec, findings: Findings) -> Program:
    """The program of a model; statements that cannot be assembled are findings."""
    code: dict[model.Arm, Code] = {}
    cache = StatementCache(user_cache())
    for arm in (*spec.arms(), *spec.references()):
        emitted = _emit(arm, spec.machine.bits, cache, findings) if arm.emits else None
        if emitted is not None and len(emitted.instructions) > MAX_INSTRUCTIONS:
            message = f"code of more than {MAX_INSTRUCTIONS} instructions"
            findings.add("PV003", message, (arm.span, count(len(emitted.instructions), "instruction")))
        elif emitted is not None:
            code[arm] = emitted
    shadows = {}
    for item in (item for backend in spec.backends.values() for item in backend.shadows):
        operand = _operand(item, spec.machine.bits, cache, findings)
        if operand is not None:
            shadows[item] = operand
    cache.save()
    return Program(spec, code, shadows)


def _operand(item: model.Shadow, bits: int, cache: StatementCache, findings: Findings) -> Code | None:
    """An instruction that compares the operand with 0; only its memory operand matters."""
    findings.work.add(_STATEMENT * statements(item.operand.value), "its operand", item.operand.span)
    try:
        code = assemble(f"cmp {item.operand.value}, 0", bits, item.symbols.keys(), cache, findings.work.suggestions)
        accesses = [access for effect in effects(code, bits) for access in effect.memory]
        if len(code.instructions) == len(accesses) == 1 and (accesses[0].base, accesses[0].index) == (None, None):
            return code
        help = 'write it as in "byte ptr [symbol + 1]"'
        findings.add("PV401", "not an operand in memory", (item.operand.span, ""), help=help)
    except AsmErrors as errors:
        for error in errors.errors:
            findings.add("PV401", error.message, (item.operand.span, ""), help=error.help)
    return None


def _emit(arm: model.Arm, bits: int, cache: StatementCache, findings: Findings) -> Code | None:
    match arm.action:
        case model.Assembly():
            return _assembled(arm.action, arm, bits, cache, findings)
        case model.RawBytes():
            return _raw(arm.action, bits, findings)
        case model.Branch():
            return branch(arm.action)
    return Code(b"", (), ())


def _assembled(
    action: model.Assembly, arm: model.Arm, bits: int, cache: StatementCache, findings: Findings
) -> Code | None:
    source = action.source.value
    findings.work.add(_STATEMENT * statements(source), "its statements", arm.span)
    try:
        return assemble(source, bits, arm.symbols.keys(), cache, findings.work.suggestions)
    except AsmErrors as errors:
        for error in errors.errors:
            place = action.source.span.part(error.start, error.end)
            findings.add("PV401", error.message, (place, ""), help=error.help)
    return None


def _raw(action: model.RawBytes, bits: int, findings: Findings) -> Code | None:
    if action.partial:
        return Code(action.data, (), (Instruction(0, len(action.data), "", ""),))
    findings.work.add(_BYTE * len(action.data), "its bytes", action.source.span)
    instructions = disassemble(action.data, bits)
    bad = [instruction for instruction in instructions if instruction.text == "(bad)"]
    if bad:
        left = action.data[bad[0].offset :].hex(" ")
        findings.add("PV402", "bytes that are not instructions", (action.source.span, f"from `{left}` on"))
        return None
    return Code(action.data, (), instructions)


def branch(action: model.Branch) -> Code:
    """`call` or `jmp`: the opcode and a rel32, 5 bytes, or a rel8, 2 bytes; one more with a prefix."""
    opcode = (b"\x2e" if action.prefixed else b"") + (b"\xeb" if action.short else _OPCODES[action.mnemonic])
    size = 1 if action.short else 4
    end = len(opcode) + size
    hole = Hole(len(opcode), size, action.symbol, action.addend, relative=True, end=end, signed=True)
    instruction = Instruction(0, end, f"{action.mnemonic} {action.symbol}", "")
    return Code(opcode + bytes(size), (hole,), (instruction,))
