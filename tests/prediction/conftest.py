"""The small kernel, bound as a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.kernel import open_kernel
from pvspec.kernel.dump.dump import open_dump
from pvspec.prediction.bind import Bound, bind
from pvspec.prediction.cpu import parse_cpuinfo
from pvspec.prediction.machine import Machine

from .kernel import CPUINFO, build

Binder = Callable[..., Bound]


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel and its spec in the current directory."""
    monkeypatch.chdir(tmp_path)
    return build()


@pytest.fixture
def bound(vmlinux: Path) -> Binder:
    """Binds the kernel; keywords are those of `Machine`, and `state`, a dump."""
    image, module = open_kernel(vmlinux), load_spec(Path("kernel.pvs"))

    def make(state: Path | None = None, **choices: Any) -> Bound:
        given = {"cpu": parse_cpuinfo(CPUINFO, "cpuinfo"), "cpus": 2, **choices}
        return bind(module, image, Machine(**given), open_dump(state, image) if state else None)

    return make
