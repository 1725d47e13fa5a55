"""The story of one address: the records whose sites cover it, pass by pass; or what is there instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from pvspec.engine.errors import PatchError
from pvspec.engine.instructions import instruction_length
from pvspec.engine.records import parse_records
from pvspec.engine.spec import Layout
from pvspec.engine.value import Value
from pvspec.kernel import ImageError
from pvspec.prediction.bind import Bound
from pvspec.prediction.machine import PredictionError
from pvspec.prediction.passes import Prediction, Site, run_passes
from pvspec.prediction.unsettled import Unsettled
from pvspec.x86.decode import disassemble, second_opinions

_MAX_FUNCTION = 1 << 16
"""Bytes from a symbol to an address up to which `explain` shows the instruction there; further on it shows none."""
_MAX_STEPS = 64
"""Records with a site at one address, which `explain` tells; if there are more, it is refused."""


class Step(Value):
    """One record that has a site at the address: what was made of it, and the record's fields.

    `op` is the op's name, None in a family. `rule` is what the spec says at the site's rule; empty if it was not at
    hand.
    """

    site: Site
    section: str
    fields: Mapping[str, int]
    op: str | None
    rule: str


class Instruction(Value):
    """One instruction of the predicted text: its address, bytes and Intel syntax."""

    address: int
    code: bytes
    text: str


class Explanation(Value):
    """What becomes of an address.

    `symbol` is where it is, as in start_kernel+0x10; None before the first symbol. `steps` are its records, in the
    order of the passes. Where it has none: the `instruction` there, None in data, and the sites `before` and `after`.
    `open` and `warnings` are those of the prediction, for the whole text.
    """

    address: int
    symbol: str | None
    steps: tuple[Step, ...]
    instruction: Instruction | None
    before: Site | None
    after: Site | None
    bits: int
    open: tuple[Unsettled, ...] = ()
    warnings: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The explanation for people."""
        return _lines(self)


def explain_bound(bound: Bound, address: int, rules: Callable[[str], str] = lambda where: "") -> Explanation:
    """What each pass makes of an address; PredictionError if it is outside the image.

    `rules` gives what the spec says at a place.
    """
    image = bound.image
    if not image.base <= address < image.end:
        raise PredictionError(f"{address:#x} is outside {image.name}, which is from {image.base:#x} to {image.end:#x}")
    try:
        name = image.symbols.name_of(address)
    except ImageError as error:
        raise PredictionError(str(error)) from None
    symbol = None if name is None else f"{name[0]}+{name[1]:#x}"
    prediction = run_passes(bound, every_site=True)
    sites = prediction.at(address)
    if len(sites) > _MAX_STEPS:
        raise PredictionError(
            f"{image.name}: {len(sites)} records have a site at {address:#x}: no kernel's are so many"
        )
    steps = tuple(_step(bound, site, rules(site.where)) for site in sites)
    if steps:
        return Explanation(address, symbol, steps, None, None, None, image.bits, prediction.open, prediction.warnings)
    start = None if name is None else address - name[1]
    before = max((site for site in prediction.sites if site.address < address), key=_address, default=None)
    after = min((site for site in prediction.sites if site.address > address), key=_address, default=None)
    instruction = _instruction(prediction, start, address)
    told = prediction.open, prediction.warnings
    return Explanation(address, symbol, (), instruction, before, after, image.bits, *told)


def _address(site: Site) -> int:
    return site.address


def _instruction(prediction: Prediction, start: int | None, address: int) -> Instruction | None:
    """The instruction that covers an address, counted from the start of its function."""
    image = prediction.bound.image
    inside = any(low <= address < high for low, high in image.executable)
    if start is None or not inside or address - start > _MAX_FUNCTION:
        return None
    code = bytes(prediction.memory[start - image.base : address - image.base + 16])
    at = 0
    while size := instruction_length(code, at, image.bits):
        if start + at + size > address:
            one = code[at : at + size]
            text = "; ".join(found.text for found in disassemble(one, image.bits, start + at))
            return Instruction(start + at, one, text)
        at += size
    return None


def _step(bound: Bound, site: Site, rule: str) -> Step:
    layout, (table, address) = bound.layout(site.table), bound.tables[site.table]
    at = _offset(layout, table, site.record)
    try:
        (fields,) = parse_records(layout, table[at : at + layout.size], address + at)
    except PatchError as error:
        raise PredictionError(f"{bound.image.name}: {error}") from None
    op = None if site.table in bound.spec.families else bound.kernel.op_name(fields["type"])
    return Step(site, layout.section, fields, op, rule)


def _offset(layout: Layout, table: bytes, number: int) -> int:
    """Where a record begins, counted without padding."""
    if not layout.padded:
        return number * layout.size
    starts = (at for at in range(0, len(table), layout.size) if any(table[at : at + layout.size]))
    return next(islice(starts, number, None))


def _lines(found: Explanation) -> Iterator[str]:
    bits = found.bits
    yield f"{found.address:#x}{f' ({found.symbol})' if found.symbol else ''}"
    for step in found.steps:
        yield from _shown_step(step, bits)
    if not found.steps:
        yield "no table has a site here"
        if found.instruction is not None:
            yield from _code("code", found.instruction.code, bits, found.instruction.address)
        for word, site in ("before", found.before), ("after", found.after):
            if site is not None:
                distance = abs(site.address - found.address)
                away = f"{distance} byte{'' if distance == 1 else 's'} away"
                yield f"  nearest site {word}: {site.address:#x}, {away}, {site.table}"


def _shown_step(step: Step, bits: int) -> Iterator[str]:
    site = step.site
    fields = "  ".join(f"{name} {value:#x}" for name, value in step.fields.items())
    yield f"{site.table}: record {site.record} of {step.section}: {fields}"
    if step.op is not None:
        yield f"  op      {step.op}"
    if not site.where:
        yield "  rule    every arm declines: the original stays"
    else:
        yield f"  rule    {site.where}  {step.rule}".rstrip()
    yield from _code("before", site.before, bits, site.address)
    yield from _code("after", site.after, bits, site.address)
    for form in site.others:
        when = f"  if {form.when}" if form.when else ""
        yield f"  or      {form.code}  {form.where or 'as it was built'}{when}"


def _code(title: str, code: bytes, bits: int, address: int) -> Iterator[str]:
    for instruction in disassemble(code, bits, address):
        data = code[instruction.offset : instruction.offset + instruction.size]
        yield f"  {title:<7} {data.hex(' '):<24} {instruction.text}"
        title = ""
    for reading in second_opinions(code, bits, address):
        yield f"  {'':<7} at byte {reading.offset} capstone reads `{reading.text}`, {reading.size} bytes"
