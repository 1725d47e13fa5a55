"""The small kernel, bound as a test wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvspec.compiler.pipeline import load
from pvspec.kernel import open_image
from pvspec.kernel.dump.dump import open_dump
from pvspec.prediction.bind import Bound, Choices, bind
from pvspec.prediction.cpu import parse_cpuinfo

from .kernel import CPUINFO, build

Binder = Callable[..., Bound]


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel and its spec in the current directory."""
    monkeypatch.chdir(tmp_path)
    return build()


@pytest.fixture
def bound(vmlinux: Path) -> Binder:
    """Binds the kernel; keywords are those of `Choices`, and `state`, a dump."""
    image, module = open_image(vmlinux), load(Path("kernel.pvs"))

    def make(state: Path | None = None, **choices: Any) -> Bound:
        given = {"cpu": parse_cpuinfo(CPUINFO, "cpuinfo"), "cpus": 2, **choices}
        return bind(module, image, Choices("native", **given), open_dump(state, image) if state else None)

    return make
