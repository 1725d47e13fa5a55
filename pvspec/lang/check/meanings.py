"""What ops mean, and where backends keep a shadow of the machine's state: what `pvspec prove` works from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import Scope, guard
from pvspec.lang.check.names import REGISTERS, Declared, registers, unknown
from pvspec.lang.check.rules import ArmScope
from pvspec.lang.diagnostics import Findings, count

FLAGS = frozenset({"flags", "interrupt_flag"})
CONTROL = frozenset({"cr0", "cr2", "cr3", "cr4"})


def contract_parts(names: Sequence[ast.Name], bits: int, findings: Findings) -> frozenset[str]:
    """The registers and flags of one side of a contract."""
    flags, others = contract_flags(names)
    return flags | registers(others, bits, findings)


def contract_flags(names: Sequence[ast.Name]) -> tuple[frozenset[str], list[ast.Name]]:
    """The flags among the names in a contract, and the other names."""
    return frozenset(name.text for name in names) & FLAGS, [name for name in names if name.text not in FLAGS]


def meanings(item: ast.Interface, owner: model.Interface, bits: int, findings: Findings) -> dict[str, model.Meaning]:
    """The declared meaning of each op."""
    declared = Declared[model.Meaning]("meaning of", findings)
    for meaning in item.meanings:
        code = None if meaning.code is None else _reference(meaning.code, owner)
        for name in meaning.ops:
            op = owner.ops.get(name.text)
            if op is None:
                unknown(name, "op", owner.ops, findings)
                continue
            effects = tuple(_effects(meaning.effects, op, bits, findings))
            if code is None:
                _check_results(meaning, op, effects, findings)
            declared.declare(name, model.Meaning(meaning.span, code, effects))
    return dict(declared)


def _reference(code: ast.Asm, owner: model.Interface) -> model.Arm:
    return model.Arm(code.span, model.Assembly(code.source), None, frozenset(), 0, owner.names.symbols)


def _effects(items: Sequence[ast.Effect], op: model.Op, bits: int, findings: Findings) -> Iterator[model.Effect]:
    for item in items:
        target = _part(item.target, op.results | CONTROL, op, "results", bits, findings)
        if isinstance(item.value, ast.Number):
            value: model.Part | int | None = item.value.value
            width = _width(item.target, bits)
            if item.value.value >= 1 << width:
                findings.add(
                    "PV202", f"{item.value.value} is out of range", (item.value.span, f"must fit {count(width, 'bit')}")
                )
        else:
            value = _part(item.value, op.inputs | CONTROL, op, "inputs", bits, findings)
        if target is not None and value is not None:
            yield model.Effect(target, value)


def _part(
    item: ast.Part, allowed: frozenset[str], op: model.Op, side: str, bits: int, findings: Findings
) -> model.Part | None:
    name = item.name.text
    if name not in REGISTERS[bits] | CONTROL | {"interrupt_flag"}:
        unknown(item.name, "part of the machine", REGISTERS[bits] | CONTROL | {"interrupt_flag"}, findings)
        return None
    if name not in allowed and not (name == "interrupt_flag" and "flags" in allowed):
        findings.add(
            "PV601",
            f"the contract of `{op.name}` does not allow this meaning",
            (item.name.span, f"`{name}` is not among its {side}"),
            (op.span, "its contract"),
            help=f"declare `{name}` among the {side} of `{op.name}`",
        )
        return None
    width = _width(ast.Part(item.span, item.name, None), bits)
    if item.bit is not None and item.bit.value >= width:
        findings.add("PV202", f"bit {item.bit.value} is out of range", (item.bit.span, f"0 to {width - 1}"))
    return model.Part(name, None if item.bit is None else item.bit.value)


def _width(part: ast.Part, bits: int) -> int:
    return 1 if part.bit is not None or part.name.text == "interrupt_flag" else bits


def _check_results(meaning: ast.Meaning, op: model.Op, effects: Sequence[model.Effect], findings: Findings) -> None:
    missing = op.results - FLAGS - {effect.target.name for effect in effects} if meaning.effects else frozenset()
    if missing:
        names = ", ".join(sorted(missing))
        findings.add(
            "PV601",
            f"this meaning does not define every result of `{op.name}`",
            (meaning.span, f"missing: {names}"),
            (op.span, "its contract"),
        )


def shadows(item: ast.Backend, scope: ArmScope, findings: Findings) -> tuple[model.Shadow, ...]:
    """The parts of the machine that a backend keeps elsewhere."""
    return tuple(filter(None, (_shadow(shadow, scope, findings) for shadow in item.shadows)))


def _shadow(item: ast.Shadow, scope: ArmScope, findings: Findings) -> model.Shadow | None:
    if item.name.text != "interrupt_flag":
        unknown(item.name, "part of the machine to keep", ["interrupt_flag"], findings)
        return None
    if item.holds.bits and not item.holds.number.value:
        findings.add("PV202", "the mask selects no bit", (item.holds.number.span, "must not be 0"))
    return model.Shadow(
        item.span,
        item.name.text,
        item.operand,
        scope.symbols,
        item.holds.number.value,
        item.holds.bits,
        guard(item.guard, Scope(options=scope.options), findings),
    )
