"""A module of a real kernel, patched as the kernel would when it loads it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from debian.debfile import DebFile

from pvspec.compile.pipeline import load
from pvspec.kernel import KernelImage, open_image
from pvspec.predict.bind import Choices, PatchingError, bind, shipped_spec

from . import boot

BARE = Choices("native", cpus=2)


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
    image = open_image(module_file, kernel=kernel)
    bound = bind(load(shipped_spec(image)), image, BARE)
    memory, _ = bound.patched()
    table, address = bound.tables[bound.module.INTERFACE.name]
    alternatives = {
        record["site"]
        for record in bound.module.parse_records(bound.layout("alternatives"), *bound.tables["alternatives"])
    }
    called = 0
    for site in bound.module.parse_sites(table, address):
        code = memory[site.addr - image.base :][: site.len]
        if site.addr not in alternatives and code[0] == 0xE8:
            target = site.addr + 5 + int.from_bytes(code[1:5], "little", signed=True)
            assert target & (1 << image.bits) - 1 == bound.kernel.targets[site.type]
            assert kernel.symbols.name_of(bound.kernel.targets[site.type]) is not None
            called += 1
    assert called


def test_without_the_kernel_nothing_is_guessed(booted: tuple[KernelImage, boot.Dump], module_file: Path) -> None:
    image = open_image(module_file)
    module = load(shipped_spec(image))
    with pytest.raises(PatchingError, match=r"waits for the symbol pv_ops; name the kernel .* with --vmlinux"):
        bind(module, image, BARE)
