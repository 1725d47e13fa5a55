"""Kernels that KASLR moved: predicted where they lay, and found in the dumps that QEMU writes."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

import pytest

from pvspec.cli import main
from pvspec.kernel import open_kernel
from pvspec.kernel.dump.dump import open_dump
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.work import Work

from . import bare, boot, fetch, guest
from .cases import Kernel
from .compare import compare
from .qemu import Machine, monitor
from .test_boot import kallsyms

KERNELS = [Kernel("6.1", "amd64", "cloud-amd64"), Kernel("6.1", "i386", "686-pae")]
MOVED = Machine(append=bare.KASLR)
SMALL = Machine(append=bare.KASLR, memory=256)


@cache
def _booted(kernel: Kernel) -> tuple[Path, boot.Dump] | fetch.Unavailable:
    try:
        package = kernel.package()
        return package, boot.boot(package, fetch.busybox(kernel.arch), MOVED)
    except fetch.Unavailable as reason:
        return reason


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.name)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    found: Kernel = request.param
    return found


@pytest.fixture
def booted(kernel: Kernel) -> tuple[Path, boot.Dump]:
    found = _booted(kernel)
    if isinstance(found, fetch.Unavailable):
        pytest.skip(str(found))
    return found


def test_every_byte_is_predicted(booted: tuple[Path, boot.Dump]) -> None:
    package, dump = booted
    counts = compare(package, MOVED, dump)
    assert counts["wrong_with_state"] == 0
    assert counts["unexplained"] == 0
    assert counts["absent"] == []
    assert counts["changed"] > 30_000


def test_the_image_is_what_the_kernel_says(booted: tuple[Path, boot.Dump]) -> None:
    """Where it lies, and all its symbols."""
    package, dump = booted
    image = open_kernel(package)
    slide = open_dump(dump.memory_path, image).slide
    assert slide == dump.base - image.base
    moved = image.moved(slide)
    decoded = decode_kallsyms(moved.memory, moved.base, moved.bits, Work())
    assert [tuple(symbol) for symbol in decoded] == kallsyms(dump)


def test_cores_say_it_themselves(kernel: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With page tables, and without: then all they have of an address is the physical one."""
    try:
        package, busybox = kernel.package(), fetch.busybox(kernel.arch)
        place = _write_cores(package, busybox, tmp_path)
    except fetch.Unavailable as reason:
        pytest.skip(str(reason))
    image = open_kernel(package)
    moved = image.moved(place - image.base)
    for core in (tmp_path / "paged", tmp_path / "physical"):
        shape = ["--cpu", SMALL.cpu, "--cpus", str(SMALL.smp), "--state", str(core)]
        assert main(["predict", str(package), *shape, "-o", str(tmp_path / "text")]) == 0
        assert f"text {place:#x} to " in capsys.readouterr().out
        text = (tmp_path / "text").read_bytes()
        assert open_dump(core, moved).read(place, len(text)) == text
        core.unlink()


def _write_cores(package: Path, busybox: Path, work: Path) -> int:
    """Boot, leave both cores, and say where the kernel lies."""
    (work / "vmlinuz").write_bytes(fetch.bzimage(package))
    (work / "initrd").write_bytes(guest.initramfs(busybox, bare.INIT))
    with bare.booted(work, SMALL, 600):
        asyncio.run(_dump_guest_memory(work))
    return guest.virtual_place(guest.sent(work / "sent"))


async def _dump_guest_memory(work: Path) -> None:
    async with monitor(work) as client:
        await client.execute("stop")
        for name, paging in (("paged", True), ("physical", False)):
            await client.execute("dump-guest-memory", {"paging": paging, "protocol": f"file:{work}/{name}"})
