"""How much work an image's tables are: a hostile image must not cost much more than a real one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pvspec.engine.apply import Kernel
from pvspec.engine.families import FamilySites
from pvspec.engine.guards import (
    Begins,
    Branches,
    Compares,
    CpuHasField,
    HasBits,
    IsAddress,
    Nonzero,
    OpNoreturn,
    Question,
    TargetIs,
    Within,
    questions,
)
from pvspec.engine.records import parse_records
from pvspec.engine.spec import Spec
from pvspec.engine.text import Text
from pvspec.kernel.work import Work

# units of work
_RECORD, _STATE = 44, 96  # a record, one with run-time state (in memory, too)
_LEFT = 3  # a record that is not looked at
_TWO_GUARDS, _OP = 3, 18  # two questions that each site is asked; a record of an interface
_BYTE, _NOP = 2, 14  # a byte of a site, one of nops that are laid anew


def check_work(spec: Spec, tables: Mapping[str, tuple[bytes, int]], work: Work, leaving: Collection[str] = ()) -> None:
    """Count what it takes to apply these tables, to print and to compare; ImageError if it is too much.

    `leaving`: those that the kernel does not go through; they are read, and no more.
    """
    records = {name: len(table) // _record_size(spec, name) for name, (table, _) in tables.items()}
    if not records:
        return
    most = max(records, key=lambda name: records[name])
    what = f"its {sum(records.values())} records, {records[most]} of them in {most},"
    for name, (table, _) in tables.items():
        if name in leaving:
            work.add(records[name] * _LEFT, what)
        else:
            _count(spec, name, table, work, what)


def left_out(kernel: Kernel, tables: Mapping[str, tuple[bytes, int]]) -> frozenset[str]:
    """The families whose records a kernel does not look at: no site can change, and none is where a table says."""
    text = Text(b"", 0, writable=False)
    sites = (FamilySites(kernel, family, text) for name, family in kernel.spec.families.items() if name in tables)
    return frozenset(found.family.name for found in sites if found.keeps_all and not found.named)


def _record_size(spec: Spec, name: str) -> int:
    if name in spec.families:
        return spec.families[name].layout.size
    assert spec.interface is not None
    assert spec.interface.layout is not None
    return spec.interface.layout.size


def _count(spec: Spec, name: str, table: bytes, work: Work, what: str) -> None:
    """By the number of records and guards; then by the bytes of sites, which take a look at each record."""
    family, records = spec.families.get(name), len(table) // _record_size(spec, name)
    if family is None:
        work.add(records * _OP, what)
        return
    each = _STATE if any(read.size for read in family.reads.values()) else _RECORD
    asked = sum(_is_of_a_site(question) for arm in family.rule for question in questions(arm.guard))
    work.add(records * (each + asked * _TWO_GUARDS // 2), what)
    if family.length is None and not family.decoded:
        lengths = sum(record["len"] for record in parse_records(family.layout, table))
        work.add(lengths * (_NOP if family.relaid else _BYTE), what)


def _is_of_a_site(question: Question) -> bool:
    """Whether each site is asked; the rest is decided when a kernel is bound."""
    kinds = TargetIs | OpNoreturn | CpuHasField | Branches | Within | Begins | Nonzero | Compares | HasBits | IsAddress
    return isinstance(question, kinds)
