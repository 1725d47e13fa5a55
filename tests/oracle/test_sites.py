"""Every paravirt site of a real kernel, patched offline, against the memory of that kernel booted."""

from __future__ import annotations

import pytest

from pvspec.compiler import load
from pvspec.kernel import KernelImage
from pvspec.patching import Bound, Choices, bind, shipped_spec

from . import boot
from .sites import compare

# What a machine without a hypervisor has of the features that decide paravirt sites: none. Others do not matter here.
BARE = Choices("native", cpus=1)


@pytest.fixture(scope="module")
def bound(booted: tuple[KernelImage, boot.Dump]) -> Bound:
    image, _ = booted
    return bind(load(shipped_spec(image)), image, BARE)


def test_every_live_site_equals_memory(booted: tuple[KernelImage, boot.Dump], bound: Bound) -> None:
    memory, _ = bound.patched()
    count, different = compare(bound, bound.module.INTERFACE.name, memory, booted[1])
    assert different == {}
    assert count >= 250  # 265 in 6.1.0-50-686-pae, 3514 in 6.1.0-56-cloud-amd64


def test_no_byte_outside_the_sites_changes(bound: Bound) -> None:
    memory, _ = bound.patched()
    changed = {
        bound.image.base + offset
        for offset, (before, after) in enumerate(zip(bound.image.memory, memory, strict=True))
        if before != after
    }
    families = bound.module.SPEC.families
    for name, (table, address) in bound.tables.items():
        fixed = families[name].length if name in families else None
        for record in bound.module.parse_records(bound.layout(name), table, address):
            start = record.get("site", record.get("addr", 0))
            changed -= set(range(start, start + (fixed or record["len"])))
    assert changed == set()
