"""Backends and their ROMs."""

from __future__ import annotations

from collections.abc import Iterable

from pvspec.engine.spec import Architecture, Layout, Target
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import Scope, guard
from pvspec.lang.check.meanings import shadows
from pvspec.lang.check.names import Declared, option_names, symbol_names, unknown
from pvspec.lang.check.numbers import in_range
from pvspec.lang.check.records import has_fields, layout
from pvspec.lang.check.rules import ArmScope, chain
from pvspec.lang.diagnostics import Findings

MAX_ARGUMENT = 64
"""Bits of the parameter of a rom; a wider one is refused (PV305)."""
_SHARED = 4  # names that several parts share and that cost a unit of work in each
_ADOPTED, _OP = 80, 4  # units of work that a rule which another backend has costs, and an op of a rule


def op_scope(common: Scope, machine: Architecture, interface: model.Interface) -> ArmScope:
    """What an arm for an interface's sites may refer to, in a backend as well as in a chain."""
    return ArmScope(
        features=common.features,
        options=interface.names.options,
        symbols=interface.names.symbols,
        ops=True,
        op_names=interface.ops,
        backends=common.backends,
        nops=common.nops,
        variables=common.variables,
        configs=common.configs,
        bits=machine.bits,
        targets=frozenset({"target"}),
        clobbers=interface.clobbers,
    )


def joined(blocks: Iterable[ast.Backend]) -> tuple[ast.Backend, ...]:
    """The backends, each of all its blocks."""
    found: dict[tuple[str, str], ast.Backend] = {}
    for block in blocks:
        name = block.name.text, block.interface.text
        known = found.get(name)
        found[name] = block if known is None else _with(known, block)
    return tuple(found.values())


def _with(item: ast.Backend, more: ast.Backend) -> ast.Backend:
    return item.changed(
        options=(*item.options, *more.options),
        symbols=(*item.symbols, *more.symbols),
        roms=(*item.roms, *more.roms),
        targets=(*item.targets, *more.targets),
        rules=(*item.rules, *more.rules),
        otherwise=(*item.otherwise, *more.otherwise),
        shadows=(*item.shadows, *more.shadows),
    )


def backend(
    item: ast.Backend, machine: Architecture, interface: model.Interface, scope: ArmScope, findings: Findings
) -> model.Backend:
    """One backend and its rules."""
    shared = len(interface.ops) + len(interface.names.symbols)
    findings.work.add(shared // _SHARED, "what its backends share", item.name.span)
    options = option_names(item.options, findings)
    symbols = symbol_names(item.symbols, machine.bits, frozenset(interface.clobbers), findings)
    targets = tuple(_target(target, interface, scope, findings) for target in item.targets)
    for target in item.targets:
        if target.symbol.text != "null":
            symbols.setdefault(target.symbol.text, model.Symbol(target.symbol.text, target.symbol.span, frozenset()))
    names = model.Names(dict(options), dict(symbols), ())
    scope = scope.changed(options={**scope.options, **options}, symbols={**scope.symbols, **symbols})
    layouts = _rom_layouts(item, findings)
    roms = {
        rom.name.text: _rom(rom, layouts[rom.name.text], scope, findings)
        for rom in item.roms
        if rom.name.text in layouts
    }
    shadowed = shadows(item, scope, findings)
    scope = scope.changed(roms={rom.name.text: _argument_bits(rom) for rom in item.roms if rom.name.text in layouts})
    rules, answered = [], Declared[None](f"rule of backend `{item.name.text}` for", findings)
    for rule in item.rules:
        ops = [_op(name, interface, findings) for name in rule.ops]
        for name in rule.ops:
            answered.declare(name, None)
        rules.append(model.Rule(rule.span, tuple(filter(None, ops)), chain(rule.arms, scope, findings)))
    rest = [op for op in interface.ops.values() if op.name not in answered]
    like = _like(item, scope)
    if like is not None:
        answers = like.answers()
        findings.work.add(_ADOPTED * len(rest), "the rules that this adopts", item.otherwise[0].span)
        rules += [model.Rule(item.otherwise[0].span, (op,), answers.get(op.name, ())) for op in rest]
        names = model.Names({**like.names.options, **options}, {**like.names.symbols, **symbols}, ())
    otherwise = None if like is not None else _otherwise(item, rest, scope, findings)
    return model.Backend(item.name.text, item.name.span, tuple(rules), otherwise, names, roms, targets, shadowed)


def _like(item: ast.Backend, scope: ArmScope) -> model.Backend | None:
    """The backend whose rules `otherwise` adopts for the other ops; None if `otherwise` is a chain."""
    arms = [arm for otherwise in item.otherwise for arm in otherwise.arms]
    if len(arms) != 1 or not isinstance(arms[0].action, ast.ChainRef) or arms[0].guard is not None:
        return None
    name = arms[0].action.name.text
    return None if name in scope.chains else scope.answered.get(name)


def _target(item: ast.Target, interface: model.Interface, scope: ArmScope, findings: Findings) -> Target:
    ops = [name for part in item.ops for name in _op_range(part, interface, findings)]
    symbol = None if item.symbol.text == "null" else item.symbol.text
    condition = guard(item.guard, scope.changed(ops=False), findings)
    return Target(tuple(ops), symbol, item.table, condition)


def _op_range(item: ast.OpRange, interface: model.Interface, findings: Findings) -> list[str]:
    """The ops from the first up to, not including, the second one, in the interface's order."""
    first, end = item.first, item.end
    if _op(first, interface, findings) is None or (end is not None and _op(end, interface, findings) is None):
        return []
    if not item.is_range:
        return [first.text]
    findings.work.add(len(interface.ops), "these ops", first.span)
    names = list(interface.ops)
    start, stop = names.index(first.text), len(names) if end is None else names.index(end.text)
    if end is not None and stop <= start:
        where = f"is `{first.text}` itself" if stop == start else f"comes before `{first.text}`"
        findings.add("PV202", "this range of ops ends before it starts", (end.span, where))
    return names[start:stop]


def _op(name: ast.Name, interface: model.Interface, findings: Findings) -> model.Op | None:
    if name.text not in interface.ops:
        unknown(name, "op", [*interface.ops, "otherwise"], findings)
    return interface.ops.get(name.text)


def _otherwise(item: ast.Backend, rest: list[model.Op], scope: ArmScope, findings: Findings) -> model.Rule | None:
    if len(item.otherwise) > 1:
        spans = [(otherwise.span, "") for otherwise in item.otherwise]
        findings.add("PV102", "`otherwise` is declared twice", *reversed(spans))
    for otherwise in item.otherwise:
        findings.work.add(_OP * len(rest), "the ops that are left to this", otherwise.span)
        return model.Rule(otherwise.span, tuple(rest), chain(otherwise.arms, scope, findings))
    if rest:
        names = ", ".join(op.name for op in rest[:8]) + (", …" if len(rest) > 8 else "")
        findings.add(
            "PV303",
            f"backend `{item.name.text}` leaves {len(rest)} op{'s' if len(rest) > 1 else ''} unanswered",
            (item.name.span, names),
            (rest[0].span, "the first of them"),
            help="add `otherwise = default`, or `otherwise = keep`"
            if "default" in scope.chains
            else "add `otherwise = keep`",
        )
    return None


def _rom_layouts(item: ast.Backend, findings: Findings) -> dict[str, Layout]:
    layouts = Declared[Layout]("rom", findings)
    for rom in item.roms:
        record = layout(rom.name.text, False, rom.fields, rom.name.span, findings)
        if record is None:
            continue
        has_fields(record, {"type": "the kind of answer"}, rom.name.span, findings)
        if rom.type.text.startswith("rel") or not 0 < _argument_bits(rom) <= MAX_ARGUMENT:
            text = f"must be u1 to u{MAX_ARGUMENT}"
            findings.add("PV305", f"a ROM's parameter cannot be a {rom.type.text}", (rom.type.span, text))
        layouts.declare(rom.name, record)
    return dict(layouts)


def _argument_bits(item: ast.Rom) -> int:
    """The width of a ROM's argument in bits."""
    return int(item.type.text.lstrip("urel"))


def _rom(item: ast.Rom, record: Layout, scope: ArmScope, findings: Findings) -> model.Rom:
    fields = frozenset(field.name for field in record.fields) - {"type"}
    scope = scope.changed(targets=scope.targets | fields)
    limit = max((1 << field.bits for field in record.fields if field.name == "type"), default=1) - 1
    names, answers = Declared[None]("answer", findings), dict[int, model.Answer]()
    for answer in item.answers:
        names.declare(answer.name, None)
        number = in_range(answer.number, 0, limit, "answer", findings)
        if number in answers:
            findings.add(
                "PV201", f"two answers have number {number}", (answer.span, f"`{answers[number].name}` already has it")
            )
        answers[number] = model.Answer(answer.name.text, chain(answer.arms, scope, findings))
    return model.Rom(item.name.text, record, answers, chain(item.otherwise.arms, scope, findings))
