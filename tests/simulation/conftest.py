"""The guests of Linux 2.6.23's backends; they are built once, nothing changes them."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import pytest

import pvspec
from pvspec.simulation.guest import Guest, build
from pvspec.support.paths import resource

BACKENDS = ("native", "vmi", "xen", "lguest")


@cache
def module() -> ModuleType:
    return pvspec.load(resource("specs", "linux-2.6.23", "i386"))


@cache
def built(backend: str) -> Guest:
    return build(module(), backend)


@pytest.fixture(params=BACKENDS)
def guest(request: pytest.FixtureRequest) -> Guest:
    return built(request.param)


@pytest.fixture
def xen() -> Guest:
    return built("xen")
