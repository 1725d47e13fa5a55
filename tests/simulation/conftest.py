"""The guests of Linux 2.6.23's backends; they are built once, nothing changes them."""

from __future__ import annotations

from functools import cache

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.engine.spec import Spec
from pvspec.simulation.guest import Guest, build
from pvspec.support.paths import resource

BACKENDS = ("native", "vmi", "xen", "lguest")


@cache
def spec() -> Spec:
    return load_spec(resource("specs", "linux-2.6.23", "i386"))


@cache
def built(backend: str) -> Guest:
    return build(spec(), backend)


@pytest.fixture(params=BACKENDS)
def guest(request: pytest.FixtureRequest) -> Guest:
    return built(request.param)


@pytest.fixture
def xen() -> Guest:
    return built("xen")
