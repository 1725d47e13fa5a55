"""The interface: record, ops, clobbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pvspec.engine import guards
from pvspec.engine.guards import Guard
from pvspec.engine.spec import Architecture, Layout, Slot
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import Scope, guard
from pvspec.lang.check.meanings import contract_flags, contract_parts, meanings
from pvspec.lang.check.names import (
    Declared,
    clobber_registers,
    look_up,
    option_names,
    protected_names,
    registers,
    result_bytes,
    symbol_names,
)
from pvspec.lang.check.numbers import check_names, constants, evaluate, hex_bytes, in_range
from pvspec.lang.check.records import the_table
from pvspec.lang.diagnostics import Findings

MAX_OPTIONS = 6
"""Options of an interface, because the module has an enumeration of op numbers for each of their settings; more are
refused (PV202)."""
MAX_SLOTS = 16
"""Ways in which an interface's sites may name their slots; more are refused (PV202)."""
_NUMBER = 5  # units of work that an op's number costs for each setting of the options
_LETTER = 4  # letters of an op's number that cost a unit of work for each setting of the options
_FIELDS = {"addr": "the address of the site", "type": "the number of the op", "len": "the length of the site"}


def interface(item: ast.Interface, machine: Architecture, findings: Findings) -> model.Interface | None:
    """The interface; None if its record is unusable."""
    if len(item.functions) > 1:
        findings.add("PV102", "`functions` is declared twice", *((name.span, "") for name in item.functions))
    functions = item.functions[0].name.text if item.functions else None
    record = _record(item, findings) if item.tables or functions is None else None
    if record is None and (item.tables or functions is None):
        return None
    options = option_names(item.options, findings)
    if len(options) > MAX_OPTIONS:
        findings.add("PV202", f"the interface has {len(options)} options", (item.name.span, f"at most {MAX_OPTIONS}"))
        return None
    clobbers = _clobbers(item, record, machine, findings)
    symbols = symbol_names(item.symbols, machine.bits, frozenset(clobbers), findings)
    names = model.Names(dict(options), dict(symbols), protected_names(item.protects, findings))
    max_len = _max_len(item, record, findings)
    if len(item.slots) > MAX_SLOTS:
        place = (item.slots[MAX_SLOTS].span, f"at most {MAX_SLOTS}")
        findings.add("PV202", f"the interface has {len(item.slots)} slots", place)
    slots = tuple(_slot(slot, findings) for slot in item.slots[:MAX_SLOTS])
    result = model.Interface(item.name.text, item.name.span, record, max_len, slots, functions, clobbers, names, {})
    ops = Declared[model.Op]("op", findings)
    named = constants(item.constants, findings)
    for op in item.ops:
        ops.declare(op.name, _op(op, result, named, machine, findings))
    _check_spelling(ops.values(), findings)
    _check_clashes(ops.values(), result, findings)
    result = result.changed(ops=dict(ops))
    return result.changed(meanings=meanings(item, result, machine.bits, findings))


def _record(item: ast.Interface, findings: Findings) -> Layout | None:
    record = the_table("interface", item.name, item.tables, _FIELDS, findings)
    if record is None:
        return None
    for field in item.tables[0].fields:
        if field.name is not None and field.name.text not in (*_FIELDS, "clobber"):
            findings.add(
                "PV305",
                f"an interface's record cannot have a field `{field.name.text}`",
                (field.span, "only addr, type, len, clobber and padding are allowed"),
            )
            return None
    return record


def _bits_of(record: Layout | None, name: str) -> int:
    """The mask of a field in the record; without a table, of the widest field that there could be."""
    if record is None:
        return 16
    return next((field.bits for field in record.fields if field.name == name), 0)


def _clobbers(item: ast.Interface, record: Layout | None, machine: Architecture, findings: Findings) -> dict[str, int]:
    clobbers = Declared[int]("clobber register", findings)
    limit = (1 << _bits_of(record, "clobber")) - 1
    for bit in item.clobbers:
        registers([bit.name], machine.bits, findings)
        mask = bit.mask.value
        if mask.bit_count() != 1 or mask > limit:
            findings.add(
                "PV202",
                f"clobber mask {mask:#x} is out of range",
                (bit.mask.span, f"must be one bit of the record's {limit:#x}"),
            )
        elif mask in clobbers.values():
            findings.add("PV201", f"two registers have the clobber bit {mask:#x}", (bit.span, ""))
        clobbers.declare(bit.name, mask)
    return dict(clobbers)


def _max_len(item: ast.Interface, record: Layout | None, findings: Findings) -> int:
    limit = (1 << _bits_of(record, "len")) - 1
    if len(item.max_lens) > 1:
        findings.add("PV102", "`max_len` is declared twice", *((number.span, "") for number in item.max_lens))
    for number in item.max_lens:
        return in_range(number, 1, min(limit, 0xFFFF), "max_len", findings)
    return min(limit, 0xFFFF)


def _slot(item: ast.Slot, findings: Findings) -> Slot:
    if item.type.text not in ("u32", "u64", "rel32"):
        findings.add(
            "PV203", f"a slot's address cannot be a {item.type.text}", (item.type.span, "must be u32, u64 or rel32")
        )
    relative = item.type.text.startswith("rel")
    return Slot(hex_bytes(item.prefix, findings), int(item.type.text.lstrip("urel")) // 8, relative)


def _op(
    item: ast.Op, owner: model.Interface, named: Mapping[str, int], machine: Architecture, findings: Findings
) -> model.Op:
    if not item.name.text[0].isalpha():
        findings.add("PV103", f"`{item.name.text}` cannot name an op", (item.name.span, "must begin with a letter"))
    check_names(item.number, {**named, **owner.names.options}, "option or number", findings)
    exists = guard(item.guard, Scope(options=owner.names.options), findings)
    length = item.length
    if isinstance(length, ast.Name):
        value = look_up(named, length, "number", findings)
        length = None if value is None else ast.Number(length.span, value)
    bits = machine.bits
    flags, others = contract_flags(item.clobbers)
    result_flags, result_names = contract_flags(item.results)
    results = result_bytes(result_names, bits, findings)
    return model.Op(
        item.name.text,
        item.name.span,
        _numbers(item, exists, owner, named, findings),
        contract_parts(item.inputs, bits, findings),
        result_flags | results.keys(),
        flags | clobber_registers(others, frozenset(owner.clobbers), bits, findings),
        item.noreturn,
        None if length is None else in_range(length, 1, owner.max_len, "len", findings),
        None if length is None else length.span,
        results,
    )


def _numbers(
    item: ast.Op, exists: Guard | None, owner: model.Interface, named: Mapping[str, int], findings: Findings
) -> dict[model.Configuration, int]:
    limit, numbers = (1 << _bits_of(owner.layout, "type")) - 1, {}
    length = (
        item.number.span.end
        - item.number.span.start
        + (item.guard.span.end - item.guard.span.start if item.guard else 0)
    )
    for configuration in owner.configurations():
        findings.work.add(_NUMBER + length // _LETTER, "its numbers for each setting of the options", item.number.span)
        options = dict(zip(owner.names.options, configuration, strict=True))
        if exists is not None and not guards.evaluate(exists, model.OptionSettings(options)):
            continue
        number = numbers[configuration] = evaluate(item.number, {**named, **options})
        if not 0 <= number <= limit:
            findings.add(
                "PV202",
                f"op number {number} is out of range{_in(options)}",
                (item.number.span, f"the record's `type` holds 0 to {limit}"),
            )
            break
    return numbers


def _in(options: Mapping[str, bool]) -> str:
    settings = [name if value else f"not {name}" for name, value in options.items()]
    return f" with {', '.join(settings)}" if settings else ""


def _check_spelling(ops: Iterable[model.Op], findings: Findings) -> None:
    """The printed enumeration writes op names in capitals."""
    spellings: dict[str, model.Op] = {}
    for op in ops:
        first = spellings.setdefault(op.name.upper(), op)
        if first is not op:
            findings.add("PV102", "two op names differ only in case", (op.span, "second"), (first.span, "first"))


def _check_clashes(ops: Iterable[model.Op], owner: model.Interface, findings: Findings) -> None:
    for first, second, configuration in _clashes(list(ops), owner.configurations()):
        options = dict(zip(owner.names.options, configuration, strict=True))
        findings.add(
            "PV201",
            f"two ops have number {second.numbers[configuration]}{_in(options)}",
            (second.span, f"`{second.name}`"),
            (first.span, f"`{first.name}`"),
        )


def _clashes(
    ops: Sequence[model.Op], configurations: Sequence[model.Configuration]
) -> Iterator[tuple[model.Op, model.Op, model.Configuration]]:
    """Each conflicting pair once, with the first configuration in which it conflicts."""
    reported: set[tuple[str, str]] = set()
    for configuration in configurations:
        owners: dict[int, model.Op] = {}
        for op in ops:
            if configuration not in op.numbers:
                continue
            first = owners.setdefault(op.numbers[configuration], op)
            if first is not op and (first.name, op.name) not in reported:
                reported.add((first.name, op.name))
                yield first, op, configuration
