"""A module of a real kernel, patched as the kernel would when it loads it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from debian.debfile import DebFile

from pvspec.engine.records import parse_records, parse_sites
from pvspec.kernel import KernelImage, open_kernel
from pvspec.prediction.bind import bind
from pvspec.prediction.cpu import read_cpu
from pvspec.prediction.machine import Machine, PredictionError
from pvspec.prediction.specs import spec_for

from . import boot

BARE = Machine(cpu=read_cpu("qemu64"), cpus=2)


@pytest.fixture(scope="module")
def module_file(booted: tuple[KernelImage, boot.Dump], tmp_path_factory: pytest.TempPathFactory) -> Path:
    image, _ = booted
    if image.bits == 32:
        pytest.skip("kvm.ko of i386 calls no op: its kernels are built without PARAVIRT_XXL")
    target = tmp_path_factory.mktemp("modules") / "kvm.ko"
    with DebFile(image.name) as package:
        archive: tarfile.TarFile = package.data.tgz()
        member = next(m for m in archive if m.name.rpartition("/")[2].startswith("kvm.ko"))
        contents = archive.extractfile(member)
        assert contents is not None
        target.write_bytes(contents.read())
    return target


def test_sites_become_calls_to_what_the_kernel_has(booted: tuple[KernelImage, boot.Dump], module_file: Path) -> None:
    kernel, _ = booted
    image = open_kernel(module_file, kernel=kernel)
    bound = bind(spec_for(image), image, BARE)
    memory, _ = bound.patched()
    interface = bound.spec.interface
    assert interface is not None
    assert interface.layout is not None
    table, address = bound.tables[interface.name]
    alternatives = {
        record["site"] for record in parse_records(bound.layout("alternatives"), *bound.tables["alternatives"])
    }
    called = 0
    for site in parse_sites(interface.layout, table, address):
        code = memory[site.addr - image.base :][: site.len]
        if site.addr not in alternatives and code[0] == 0xE8:
            target = site.addr + 5 + int.from_bytes(code[1:5], "little", signed=True)
            assert target & (1 << image.bits) - 1 == bound.kernel.facts.targets[site.type]
            assert kernel.symbols.name_of(bound.kernel.facts.targets[site.type]) is not None
            called += 1
    assert called


def test_without_the_kernel_nothing_is_guessed(booted: tuple[KernelImage, boot.Dump], module_file: Path) -> None:
    image = open_kernel(module_file)
    module = spec_for(image)
    with pytest.raises(PredictionError, match=r"waits for the symbol pv_ops; name the kernel .* with --vmlinux"):
        bind(module, image, BARE)
