"""The story of one address: the records whose sites cover it, pass by pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from pvspec.predict import Site, predict
from pvspec.predict.bind import Bound, PatchingError
from pvspec.x86.decode import disassemble, second_opinions


@dataclass(frozen=True)
class Step:
    """One record that has a site at the address: what was made of it, and the record's fields.

    `op` is the op's name, None in a family.
    """

    site: Site
    section: str
    fields: Mapping[str, int]
    op: str | None


def explain(bound: Bound, address: int) -> list[Step]:
    """What each pass makes of the sites that cover an address, in the order of the passes; PatchingError."""
    covering = [
        site for site in predict(bound, whole=True).sites if site.address <= address < site.address + site.length
    ]
    return [_step(bound, site) for site in covering]


def _step(bound: Bound, site: Site) -> Step:
    layout = bound.layout(site.family)
    try:
        records = bound.module.parse_records(layout, *bound.tables[site.family])
        fields = next(islice(records, site.record, None))
    except bound.module.PatchError as error:
        raise PatchingError(f"{bound.image.name}: {error}") from None
    op = None if site.family in bound.module.SPEC.families else bound.kernel.op_name(fields["type"])
    return Step(site, layout.section, fields, op)


def shown(step: Step, bits: int, rules: Mapping[str, str]) -> Iterator[str]:
    """The step for people; `rules` maps places in the spec to what stands there."""
    site = step.site
    fields = "  ".join(f"{name} {value:#x}" for name, value in step.fields.items())
    yield f"{site.family}: record {site.record} of {step.section}: {fields}"
    if step.op is not None:
        yield f"  op      {step.op}"
    if not site.where:
        yield "  rule    every arm declines: the original stays"
    else:
        yield f"  rule    {site.where}  {rules.get(site.where, '')}".rstrip()
    yield from _code("before", site.before, bits, site.address)
    yield from _code("after", site.after, bits, site.address)
    for form in site.others:
        yield f"  or      {form.code}  {form.where or 'as it was built'}"


def _code(title: str, code: bytes, bits: int, address: int) -> Iterator[str]:
    for instruction in disassemble(code, bits, address):
        data = code[instruction.offset : instruction.offset + instruction.size]
        yield f"  {title:<7} {data.hex(' '):<24} {instruction.text}"
        title = ""
    for reading in second_opinions(code, bits, address):
        yield f"  {'':<7} at byte {reading.offset} capstone reads `{reading.text}`, {reading.size} bytes"
