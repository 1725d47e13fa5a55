"""What two disassemblers say instructions do, and which one is right where they differ.

The contract is checked with iced-x86. Capstone's facts about each instruction are compared with it. What capstone omits
is listed. What it adds counts: if the contract does not allow it, that is a finding, unless capstone is known to be
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.contract import Contract
from pvspec.compiler.sound.paths import FLAGS, is_general
from pvspec.compiler.sound.spans import instruction_span
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings
from pvspec.x86.code import Code, InstructionEffects
from pvspec.x86.decode import second_facts, second_opinions
from pvspec.x86.effects import effects

# Where capstone contradicts the manual: it says that an operand is written which is only read.
CAPSTONE_ERRORS = {"cdq": {"eax"}, "cdqe": {"eax"}, "cqo": {"rax"}, "cwde": {"eax"}, "test": {"eax", "rax"}}
_INSTRUCTION = 200  # units of work that comparing an instruction costs
_PARTS: dict[int, dict[str, tuple[str, ...]]] = {32: {}, 64: {}}
for _name in ("ax", "bx", "cx", "dx"):
    _PARTS[32][f"e{_name}"] = (f"e{_name}", _name, f"{_name[0]}l", f"{_name[0]}h")
    _PARTS[64][f"r{_name}"] = (f"r{_name}", *_PARTS[32][f"e{_name}"])
for _name in ("si", "di", "bp"):
    _PARTS[32][f"e{_name}"] = (f"e{_name}", _name)
    _PARTS[64][f"r{_name}"] = (f"r{_name}", f"e{_name}", _name, f"{_name}l")
for _name in (f"r{number}" for number in range(8, 16)):
    _PARTS[64][_name] = (_name, f"{_name}d", f"{_name}w", f"{_name}b")
_CLEARS = re.compile(r"(?:xor|sub) (\w+), \1")  # the result is 0, so the register is not an input
_FULL = {bits: {part: full for full, parts in table.items() for part in parts} for bits, table in _PARTS.items()}


class Decoders(Value):
    """How the second decoder differs from the first one.

    `instructions`: how many were compared. `left_out`: what the second one omits; `added`: what only it says and the
    contract allows; each as (instruction, what).
    """

    instructions: int
    left_out: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]


def compare_decoders(program: Program, findings: Findings) -> Decoders:
    """Compare capstone's facts about every instruction of every emitter; PV410 if a difference matters."""
    left_out: set[tuple[str, str]] = set()
    added: set[tuple[str, str]] = set()
    arms: dict[model.Arm, model.Op] = dict(_emitters(program))
    for arm, op in arms.items():
        code = program.code[arm]
        findings.work.add(_INSTRUCTION * len(code.instructions), "its instructions, read twice", arm.span)
        _check_lengths(arm, code, program, findings)
        contract = Contract(op, arm, program, Findings())
        for effect in effects(code, program.spec.machine.bits):
            less, more = _compared(effect, code, program.spec.machine.bits)
            left_out |= {(effect.instruction.text.split(" ")[0], what) for what in less}
            extra = [(kind, name) for kind, name in more if not _allowed(kind, name, contract, effect)]
            added |= {(effect.instruction.text, f"{kind} {name}") for kind, name in more if (kind, name) not in extra}
            if extra:
                _differs(arm, code, effect, [f"{kind} {name}" for kind, name in extra], findings)
    count = sum(len(program.code[arm].instructions) for arm in arms)
    return Decoders(count, tuple(sorted(left_out)), tuple(sorted(added)))


def _emitters(program: Program) -> Iterator[tuple[model.Arm, model.Op]]:
    """Each arm with code of its own, and one of its ops."""
    for backend in program.spec.backends.values():
        for rule in (*backend.rules, *([backend.otherwise] if backend.otherwise else [])):
            for arm in rule.chain:
                if rule.ops and arm in program.code and isinstance(arm.action, model.Assembly | model.RawBytes):
                    yield arm, rule.ops[0]


def _check_lengths(arm: model.Arm, code: Code, program: Program, findings: Findings) -> None:
    for opinion in second_opinions(code.data, program.spec.machine.bits):
        (instruction,) = (one for one in code.instructions if one.offset == opinion.offset)
        findings.add(
            "PV410",
            "an instruction that two disassemblers read differently",
            (instruction_span(arm, code, instruction), f"iced-x86: {instruction.text} ({instruction.size} bytes)"),
            notes=[f"capstone: {opinion.text} ({opinion.size} bytes)"],
            help="processors may differ too: use an instruction that is unambiguous",
        )


def _compared(effect: InstructionEffects, code: Code, bits: int) -> tuple[set[str], list[tuple[str, str]]]:
    """What capstone leaves out, and what it adds: (`reads` or `writes`, register or flag)."""
    start = effect.instruction.offset
    facts = second_facts(code.data[start : start + effect.instruction.size], bits)
    if facts is None:
        return {"everything"}, []
    wrong = CAPSTONE_ERRORS.get(effect.instruction.text.split(" ")[0], set())
    less: set[str] = set()
    more: list[tuple[str, str]] = []
    for kind, ours, theirs in (
        ("reads", _registers(effect.reads), _full(facts.reads, bits)),
        ("writes", _registers(effect.writes), _full(facts.writes, bits) - wrong),
        ("reads", effect.flags_read & set(FLAGS), facts.flags_read & set(FLAGS)),
        ("writes", effect.flags_written & set(FLAGS), facts.flags_written & set(FLAGS)),
    ):
        less |= {f"{kind} {name}" for name in ours - theirs}
        more += [(kind, name) for name in sorted(theirs - ours)]
    return less, more


def _registers(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if is_general(name))


def _full(names: Iterable[str], bits: int) -> frozenset[str]:
    return frozenset(_FULL[bits][name] for name in names if name in _FULL[bits])


def _allowed(kind: str, name: str, contract: Contract, effect: InstructionEffects) -> bool:
    """Whether the contract allows what only capstone says; any code may write status flags."""
    if contract.op.noreturn and kind == "writes":
        return True
    if kind == "reads" and _CLEARS.fullmatch(effect.instruction.text):
        return True
    if name in FLAGS:
        side = contract.op.inputs if kind == "reads" else contract.allowed
        free = kind == "writes" and name not in ("df", "if", "ac")
        return free or "flags" in side or (name == "if" and "interrupt_flag" in side)
    if kind == "writes":
        return name in contract.allowed
    earlier = (one for one in contract.effects if one.instruction.offset < effect.instruction.offset)
    return name in contract.op.inputs or any(name in one.writes for one in earlier)


def _differs(arm: model.Arm, code: Code, effect: InstructionEffects, extra: list[str], findings: Findings) -> None:
    findings.add(
        "PV410",
        "an instruction that two disassemblers read differently",
        (
            instruction_span(arm, code, effect.instruction),
            f"capstone: it {', '.join(extra)}; iced-x86 does not report that",
        ),
        help="declare it in the contract, if that is what the instruction does, or use another one",
    )
