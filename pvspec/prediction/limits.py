"""How much work an image's tables are: a hostile image must not cost much more than a real one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_WORK = 36_000_000
"""In units of about a quarter of a microsecond. Debian's 6.12 with call depth tracking is 30 million."""

_RECORD, _STATE, _NOP = 24, 64, 9  # units: a record, one with run-time state (in memory, too), a byte of nops laid anew


def work(module: Any, tables: Mapping[str, tuple[bytes, int]]) -> int:
    """What it takes to apply these tables, in units of `MAX_WORK`: by number of records, guards and bytes of sites."""
    return sum(_work(module, name, table) for name, (table, _) in tables.items())


def _work(module: Any, name: str, table: bytes) -> int:
    family = module.SPEC.families.get(name)
    if family is None:
        return len(table) // int(module.INTERFACE.layout.size) * _RECORD // 2
    records = len(table) // int(family.layout.size)
    each = _STATE if any(read.size for read in family.reads.values()) else _RECORD
    asked = sum(sum(1 for _ in _asked(arm.guard)) for arm in family.rule)
    whole = records * (each + asked)
    if whole > MAX_WORK or family.length is not None or family.decoded:
        return whole
    lengths: int = sum(record["len"] for record in module.parse_records(family.layout, table))
    return whole + lengths * (_NOP if family.relaid else 1)


def _asked(guard: Any) -> Iterator[Any]:
    """What a guard asks of each site; the rest is decided when a kernel is bound."""
    if guard is not None and guard[0] in ("any", "all", "not"):
        for part in guard[1:]:
            yield from _asked(part)
    elif guard is not None and guard[0] in _OF_SITES:
        yield guard


_OF_SITES = frozenset({"target", "cpu field", "within", "branch", "begins", "field", "compares", "bits", "is"})
