"""The sites of every table that the shipped spec knows, patched offline, against the memory of the booted kernel."""

from __future__ import annotations

import pytest

from pvspec.compiler import load
from pvspec.kernel import KernelImage
from pvspec.patching import Bound, Choices, bind, shipped_spec

from . import boot
from .features import features
from .sites import compare


@pytest.fixture(scope="module")
def bound(booted: tuple[KernelImage, boot.Dump]) -> Bound:
    image, dump = booted
    return bind(load(shipped_spec(image)), image, Choices("native", features=tuple(features(dump)), cpus=1))


def test_every_site_of_every_table(booted: tuple[KernelImage, boot.Dump], bound: Bound) -> None:
    memory, _ = bound.patched()
    for name in bound.tables:
        count, different = compare(bound, name, memory, booted[1])
        assert (name, different) == (name, {})
        assert count
