"""The story of one address: the records whose sites cover it, pass by pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pvspec.asm.decode import disassemble, second_opinions
from pvspec.patching import Bound, PatchingError


@dataclass(frozen=True)
class Step:
    """One record: its table and fields, the arm that fired (its place in the spec), the site before and after.

    `record` counts from 0; `where` is None if every arm declined, so that the original stays.
    """

    table: str
    section: str
    record: int
    fields: Mapping[str, int]
    op: str | None
    where: str | None
    site: int
    before: bytes
    after: bytes


def explain(bound: Bound, address: int) -> list[Step]:
    """What each pass makes of the sites that cover an address, in the order of the passes; PatchingError."""
    memory = bytearray(bound.image.memory)
    steps = []
    for name in bound.module.SPEC.passes:
        if name in bound.tables:
            steps += [_step(bound, name, index, fields, memory) for index, fields in _covering(bound, name, address)]
    return steps


def _length(bound: Bound, name: str, fields: Mapping[str, int]) -> int:
    family = bound.module.SPEC.families.get(name)
    return fields["len"] if family is None or family.length is None else int(family.length)


def _covering(bound: Bound, name: str, address: int) -> Iterator[tuple[int, Mapping[str, int]]]:
    layout, (table, start) = bound.layout(name), bound.tables[name]
    try:
        for index, fields in enumerate(bound.module.parse_records(layout, table, start)):
            site = fields["site"] if "site" in fields else fields["addr"]
            if site <= address < site + _length(bound, name, fields):
                yield index, fields
    except bound.module.PatchError as error:
        raise PatchingError(f"{bound.image.path}: {error}") from None


def _step(bound: Bound, name: str, index: int, fields: Mapping[str, int], memory: bytearray) -> Step:
    layout, image = bound.layout(name), bound.image
    table, start = bound.tables[name]
    site, length = fields.get("site", fields.get("addr", 0)), _length(bound, name, fields)
    record = bytes(table[index * layout.size : (index + 1) * layout.size])
    offset = site - image.base
    before = bytes(memory[max(offset, 0) : offset + length])
    try:
        where = _where(bound, name, fields, length, memory)
        tables = {name: (record, start + index * layout.size)}
        bound.kernel.apply_passes(tables, memory, image.base, executable=image.executable)
    except bound.module.PatchError as error:
        raise PatchingError(f"{image.path}: {error}") from None
    after = bytes(memory[offset : offset + length])
    return Step(name, layout.section, index, fields, _op(bound, name, fields), where, site, before, after)


def _op(bound: Bound, name: str, fields: Mapping[str, int]) -> str | None:
    interface = bound.module.SPEC.interface
    if name in bound.module.SPEC.families or interface is None:
        return None
    settings = tuple(bound.kernel.options[option] for option in interface.names.options)
    found: str | None = interface.numbers[settings].get(fields["type"])
    return found


def _where(bound: Bound, name: str, fields: Mapping[str, int], length: int, memory: bytearray) -> str | None:
    """The spec line of the arm that fires; None if all decline."""
    kernel, family = bound.kernel, bound.module.SPEC.families.get(name)
    if family is None:
        row = kernel.row(fields["type"], fields.get("clobber", 0), length)
        return row.where or None
    text = bound.module.Text(memory, bound.image.base)
    arm = kernel.deciding_arm(family, bound.module.FamilySite(fields, length, text), length)
    return None if arm is None else str(arm.where)


def shown(step: Step, bits: int, rules: Mapping[str, str]) -> Iterator[str]:
    """The step for people; `rules` maps places in the spec to what stands there."""
    fields = "  ".join(f"{name} {value:#x}" for name, value in step.fields.items())
    yield f"{step.table}: record {step.record} of {step.section}: {fields}"
    if step.op is not None:
        yield f"  op      {step.op}"
    if step.where is None:
        yield "  rule    every arm declines: the original stays"
    else:
        yield f"  rule    {step.where}  {rules.get(step.where, '')}".rstrip()
    yield from _code("before", step.before, bits, step.site)
    yield from _code("after", step.after, bits, step.site)


def _code(title: str, code: bytes, bits: int, address: int) -> Iterator[str]:
    for instruction in disassemble(code, bits, address):
        data = code[instruction.offset : instruction.offset + instruction.size]
        yield f"  {title:<7} {data.hex(' '):<24} {instruction.text}"
        title = ""
    for reading in second_opinions(code, bits, address):
        yield f"  {'':<7} at byte {reading.offset} capstone reads `{reading.text}`, {reading.size} bytes"
