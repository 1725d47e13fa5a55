"""Kernels, fetched and booted once for all tests of a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from pvspec.kernel import KernelImage, open_kernel

from . import boot, fetch

KERNELS = [("i386", "686-pae"), ("amd64", "cloud-amd64")]


@cache
def _booted(arch: str, flavour: str) -> tuple[KernelImage, boot.Dump] | fetch.Unavailable:
    try:
        package: Path = fetch.kernel_package(arch, flavour)
        return open_kernel(package), boot.boot(package, fetch.busybox(arch))
    except fetch.Unavailable as reason:
        return reason


@pytest.fixture(scope="session", params=KERNELS, ids=["-".join(kernel) for kernel in KERNELS])
def booted(request: pytest.FixtureRequest) -> tuple[KernelImage, boot.Dump]:
    """A Debian kernel as its package has it, and the memory of the same kernel booted in an emulator."""
    found = _booted(*request.param)
    if isinstance(found, fetch.Unavailable):
        pytest.skip(str(found))
    return found
