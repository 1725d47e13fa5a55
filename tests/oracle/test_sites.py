"""What a prediction of a real kernel changes, and where."""

from __future__ import annotations

import pytest

from pvspec.kernel import KernelImage
from pvspec.prediction import Prediction
from pvspec.prediction.bind import bind
from pvspec.prediction.cpu import read_cpu
from pvspec.prediction.machine import Machine
from pvspec.prediction.passes import run_passes
from pvspec.prediction.specs import spec_for

from . import boot

BARE = Machine(cpu=read_cpu("qemu64"), cpus=1)  # without a hypervisor no live paravirt site depends on it


@pytest.fixture(scope="module")
def prediction(booted: tuple[KernelImage, boot.Dump]) -> Prediction:
    image, _ = booted
    return run_passes(bind(spec_for(image), image, BARE))


def test_every_live_paravirt_site_equals_memory(booted: tuple[KernelImage, boot.Dump], prediction: Prediction) -> None:
    interface, memory = prediction.bound.spec.interface, prediction.memory
    assert interface is not None
    base, dump = prediction.bound.image.base, booted[1]
    sites = [site for site in prediction.inside() if site.table == interface.name]
    places = [(site.address, slice(site.address - base, site.address - base + site.length)) for site in sites]
    assert [
        hex(address) for address, part in places if memory[part] != dump.read(address, part.stop - part.start)
    ] == []
    assert len(sites) >= 250  # 265 in 6.1.0-50-686-pae, 3514 in 6.1.0-56-cloud-amd64


def test_no_byte_outside_the_sites_changes(prediction: Prediction) -> None:
    image = prediction.bound.image
    changed = {
        image.base + offset
        for offset, (before, after) in enumerate(zip(image.memory, prediction.memory, strict=True))
        if before != after
    }
    for site in prediction.sites:
        changed.difference_update(range(site.address, site.address + site.length))
    assert changed == set()
    assert prediction.memory == prediction.bound.patched()[0]  # as `apply` writes it
