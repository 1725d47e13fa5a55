"""Specs from the cache: what is in a spec's folder is named if it cannot be read, cached or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.lang.diagnostics import SpecError
from pvspec.support.paths import resource


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVSPEC_CACHE", str(tmp_path / "cache"))
    shutil.copytree(resource("specs", "linux-2.6.23", "i386"), tmp_path / "spec")
    return tmp_path / "spec"


def test_it_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_spec(folder)
    monkeypatch.setattr("pvspec.compiler.pipeline.check_spec", lambda path: pytest.fail("compiled again"))
    assert load_spec(folder) == first


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "PV001.*z.pvs cannot be read: not a regular file"),
        (os.mkdir, "PV001.*z.pvs cannot be read: not a regular file"),
        (lambda path: os.symlink("nowhere", path), "PV001.*z.pvs cannot be read: its name does not end in .pvs"),
        (lambda path: os.symlink("nowhere.pvs", path), "PV001.*z.pvs cannot be read: no such file"),
        (lambda path: os.symlink("/dev/zero", path), "PV005.*z.pvs is outside of the spec's folder"),
    ],
)
def test_what_is_not_a_file(folder: Path, make: Callable[[Path], None], why: str) -> None:
    load_spec(folder)
    make(folder / "z.pvs")
    with pytest.raises(SpecError, match=why):
        load_spec(folder)
