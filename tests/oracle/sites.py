"""The sites of a table in live text, and what a prediction and a booted kernel's memory make of them."""

from __future__ import annotations

from collections.abc import Iterator

from pvspec.patching import Bound

from . import boot


def live_sites(bound: Bound, name: str) -> Iterator[tuple[int, int]]:
    """Address and length of each site of a pass outside the init text, which a booted kernel has freed."""
    start, end = (bound.image.symbols.address(symbol) for symbol in ("_stext", "_etext"))
    assert start is not None
    assert end is not None
    length = getattr(bound.module.SPEC.families.get(name), "length", None)
    for record in bound.module.parse_records(bound.layout(name), *bound.tables[name]):
        site = record.get("site", record.get("addr", 0))
        if start <= site < end:
            yield site, length or record["len"]


def compare(bound: Bound, name: str, memory: bytearray, dump: boot.Dump) -> tuple[int, dict[str, tuple[str, str]]]:
    """The number of a pass's live sites, and those that differ: the bytes in `memory` and those in the dump."""
    sites, different, base = list(live_sites(bound, name)), {}, bound.image.base
    for address, length in sites:
        ours, theirs = bytes(memory[address - base : address - base + length]), dump.read(address, length)
        if ours != theirs:
            different[hex(address)] = ours.hex(" "), theirs.hex(" ")
    return len(sites), different
