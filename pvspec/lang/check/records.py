"""Records: fields at bits."""

from __future__ import annotations

import keyword
from collections.abc import Sequence

from pvspec.engine.spec import Field, Layout
from pvspec.lang import syntax as ast
from pvspec.lang.check.names import Declared
from pvspec.lang.diagnostics import Findings, count
from pvspec.lang.source import Span

MAX_RECORD = 256
"""Bytes of a record, and of padding in it; a longer one is refused."""


def layout(section: str, padded: bool, fields: Sequence[ast.Field], place: Span, findings: Findings) -> Layout | None:
    """The layout of a record; None if it cannot be laid out."""
    found = len(findings.found)
    names = Declared[Field]("field", findings)
    at = slack = 0
    for item in fields:
        bits = _width(item, findings)
        if item.name is None:
            slack += bits
        else:
            _check_place(item, at, bits, findings)
            shift = 0 if item.shift is None else item.shift.value
            names.declare(item.name, Field(item.name.text, at, bits, item.type.text.startswith("rel"), shift))
            slack = 0
        at += bits
    if at % 8 or at > 8 * MAX_RECORD:
        findings.add(
            "PV203",
            f"a record cannot be {count(at, 'bit')} long",
            (place, f"must be a whole number of bytes, at most {MAX_RECORD}"),
        )
    if len(findings.found) > found:
        return None
    return Layout(section, at // 8, tuple(names.values()), slack // 8, padded)


def the_table(
    what: str, name: ast.Name, tables: Sequence[ast.Table], wanted: dict[str, str], findings: Findings
) -> Layout | None:
    """The layout of the one table that `what` must have, with the fields wanted; None if there is no such layout."""
    if len(tables) != 1:
        findings.add(
            "PV104", f"{what} `{name.text}` needs exactly one `table`", (name.span, f"it declares {len(tables)}")
        )
        return None
    (table,) = tables
    record = layout(table.section.value, table.padded, table.fields, table.section.span, findings)
    if record is not None and table.bounds is not None:
        first, last = table.bounds
        record = record.changed(bounds=(first.text, last.text))
    if record is None or not has_fields(record, wanted, table.section.span, findings):
        return None
    return record


def _width(item: ast.Field, findings: Findings) -> int:
    text = item.type.text
    if item.name is None:
        size = int(text.removeprefix("pad"))
        if not 0 < size <= MAX_RECORD:
            findings.add(
                "PV203", f"padding cannot be {count(size, 'byte')} long", (item.type.span, f"1 to {MAX_RECORD}")
            )
            return 0
        return 8 * size
    bits = int(text.lstrip("urel"))
    whole = bits + (0 if item.shift is None else item.shift.value)
    if not 0 < bits <= whole <= 64 or (text.startswith("rel") and whole not in (8, 16, 32, 64)):
        wanted = "must be rel8, rel16, rel32 or rel64" if text.startswith("rel") else "must be u1 to u64"
        findings.add("PV203", f"a field cannot be a {text}", (item.type.span, wanted))
        return 0
    return bits


def _check_place(item: ast.Field, at: int, bits: int, findings: Findings) -> None:
    assert item.name is not None
    if keyword.iskeyword(item.name.text) or item.name.text.startswith("_"):
        findings.add("PV103", f"`{item.name.text}` cannot name a field", (item.name.span, "it is a reserved word"))
    inside = at % 8 != (0 if item.shift is None else item.shift.value)
    if inside and (item.type.text.startswith("rel") or bits >= 8):
        findings.add(
            "PV203",
            f"field `{item.name.text}` does not start at a byte boundary",
            (item.span, f"it starts at bit {at}"),
        )


def has_fields(table: Layout, wanted: dict[str, str], place: Span, findings: Findings) -> bool:
    """Whether a record has these fields, given with what each must hold; a finding for each that is missing."""
    have = {field.name for field in table.fields}
    for name in wanted.keys() - have:
        findings.add("PV104", f"the record lacks the field `{name}`", (place, f"it must hold {wanted[name]}"))
    return wanted.keys() <= have
