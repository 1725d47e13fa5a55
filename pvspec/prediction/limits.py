"""How much work an image's tables are: a hostile image must not cost much more than a real one."""

from __future__ import annotations

from collections.abc import Mapping

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
from pvspec.prediction.machine import PredictionError

MAX_WORK = 36_000_000
"""In units of about a quarter of a microsecond. Debian's 6.12 with call depth tracking is 30 million."""

_RECORD, _STATE, _NOP = 24, 64, 9  # units: a record, one with run-time state (in memory, too), a byte of nops laid anew


def check_work(spec: Spec, tables: Mapping[str, tuple[bytes, int]], image: object) -> None:
    """PredictionError if it takes too much to apply an image's tables."""
    if work(spec, tables) <= MAX_WORK:
        return
    records = {name: len(table) // _record_size(spec, name) for name, (table, _) in tables.items()}
    most = max(records, key=lambda name: records[name])
    raise PredictionError(
        f"{image}: its tables have {sum(records.values())} records, {records[most]} of them in {most}: "
        "more work than any kernel's"
    )


def work(spec: Spec, tables: Mapping[str, tuple[bytes, int]]) -> int:
    """What it takes to apply these tables, in units of `MAX_WORK`: by number of records, guards and bytes of sites."""
    return sum(_work(spec, name, table) for name, (table, _) in tables.items())


def _record_size(spec: Spec, name: str) -> int:
    if name in spec.families:
        return spec.families[name].layout.size
    assert spec.interface is not None
    assert spec.interface.layout is not None
    return spec.interface.layout.size


def _work(spec: Spec, name: str, table: bytes) -> int:
    family, records = spec.families.get(name), len(table) // _record_size(spec, name)
    if family is None:
        return records * _RECORD // 2
    each = _STATE if any(read.size for read in family.reads.values()) else _RECORD
    asked = sum(_is_of_a_site(question) for arm in family.rule for question in questions(arm.guard))
    whole = records * (each + asked)
    if whole > MAX_WORK or family.length is not None or family.decoded:
        return whole
    lengths = sum(record["len"] for record in parse_records(family.layout, table))
    return whole + lengths * (_NOP if family.relaid else 1)


def _is_of_a_site(question: Question) -> bool:
    """Whether each site is asked; the rest is decided when a kernel is bound."""
    kinds = TargetIs | OpNoreturn | CpuHasField | Branches | Within | Begins | Nonzero | Compares | HasBits | IsAddress
    return isinstance(question, kinds)
