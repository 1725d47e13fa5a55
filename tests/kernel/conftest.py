"""Fixtures: a small kernel and small modules, for either machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .binutils import BASE, assemble, link_kernel


@pytest.fixture(params=sorted(BASE))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def vmlinux(machine: str, tmp_path: Path) -> Path:
    return link_kernel(tmp_path, machine)


@pytest.fixture
def assembler(machine: str, tmp_path: Path) -> Callable[[str, str], Path]:
    """Assembles a source text to a file of that name."""
    return lambda source, name: assemble(source, tmp_path / name, machine)
