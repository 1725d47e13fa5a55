"""Every paravirt site of a real kernel, patched offline, against the memory of that kernel booted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pvspec.compiler import load
from pvspec.kernel import KernelImage
from pvspec.patching import Bound, Choices, bind, shipped_spec

from . import boot

# What a machine without a hypervisor has of the features that decide paravirt sites: none. Others do not matter here.
BARE = Choices("native", cpus=1)


@pytest.fixture(scope="module")
def bound(booted: tuple[KernelImage, boot.Dump]) -> Bound:
    image, _ = booted
    return bind(load(shipped_spec(image)), image, BARE)


def live_sites(bound: Bound) -> Iterator[tuple[int, int]]:
    """Address and length of each paravirt site outside the init text, which a booted kernel has freed."""
    symbols = bound.image.symbols
    start, end = symbols.address("_stext"), symbols.address("_etext")
    assert start is not None
    assert end is not None
    table, address = bound.tables[bound.module.INTERFACE.name]
    for site in bound.module.parse_sites(table, address):
        if start <= site.addr < end:
            yield site.addr, site.len


def compare(bound: Bound, dump: boot.Dump) -> tuple[int, dict[str, tuple[str, str]]]:
    """The number of live sites, and those that differ: predicted bytes and those in memory."""
    image, (memory, _) = bound.image, bound.patched()
    sites = list(live_sites(bound))
    different = {
        hex(address): (memory[address - image.base :][:length].hex(), dump.read(address, length).hex())
        for address, length in sites
        if memory[address - image.base : address - image.base + length] != dump.read(address, length)
    }
    return len(sites), different


def test_every_live_site_equals_memory(booted: tuple[KernelImage, boot.Dump], bound: Bound) -> None:
    count, different = compare(bound, booted[1])
    assert different == {}
    assert count >= 250  # 265 in 6.1.0-50-686-pae, 3514 in 6.1.0-56-cloud-amd64


def test_no_byte_outside_the_sites_changes(bound: Bound) -> None:
    memory, _ = bound.patched()
    changed = {
        bound.image.base + offset
        for offset, (before, after) in enumerate(zip(bound.image.memory, memory, strict=True))
        if before != after
    }
    spec = bound.module.SPEC
    for name, (table, address) in bound.tables.items():
        layout = spec.families[name].layout if name in spec.families else spec.interface.layout
        for record in bound.module.parse_records(layout, table, address):
            start = record.get("site", record.get("addr", 0))
            changed -= set(range(start, start + record.get("len", 1)))
    assert changed == set()
