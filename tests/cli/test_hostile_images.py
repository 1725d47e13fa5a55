"""Kernel images that mean harm: each is refused by name or done with, soon and in little memory."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.measured import Measured, measured
from tests.prediction.hostile import SPEC, alternatives, locks, make_image
from tests.prediction.kernel import BASE

SECONDS, MEMORY = 60, 1 << 20  # KiB; a run that hangs is cut off. The benchmarks say how long one takes


def predict(*arguments: str) -> Measured:
    command = [sys.executable, "-m", "pvspec", "predict", "vmlinux", "--spec", "hostile.pvs", "-o", "text", *arguments]
    return measured(command, SECONDS, cwd=Path.cwd())


Build = Callable[..., None]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Makes `vmlinux`, with these tables and as much of .bss, in the current directory."""
    monkeypatch.chdir(tmp_path)

    def make(**tables: Any) -> None:
        try:
            make_image(Path(), **tables)
        except FileNotFoundError:
            pytest.skip("as is not installed (Debian package binutils)")

    return make


def assert_refused(cost: Measured, message: str) -> None:
    assert (cost.code, cost.out) == (1, "")
    assert cost.err.startswith("error: vmlinux: ")
    assert message in cost.err
    assert cost.memory < MEMORY
    assert not Path("text").exists()


def assert_done(cost: Measured) -> None:
    assert (cost.code, cost.err) == (0, "")
    assert cost.memory < MEMORY


def test_millions_of_alternatives(build: Build) -> None:
    build(alternatives=bytes(20) * 5_000_000)
    assert_refused(
        predict(), "its 5000000 records, 5000000 of them in alternatives, would take more time than any kernel's"
    )


def test_millions_of_locks(build: Build) -> None:
    build(locks=struct.pack("<Q", BASE) * 10_000_000)
    assert_refused(predict(), "10000000 of them in smp_locks")


def test_as_many_locks_as_are_let_in(build: Build) -> None:
    build(locks=locks(1_400_000))
    assert_done(predict())


def test_long_sites_stacked(build: Build) -> None:
    """255 bytes of nops are laid anew for each of so many records that name one site."""
    build(alternatives=alternatives(100_000, 255, 0))
    assert_refused(predict("--features", "FAST"), "100000 of them in alternatives")
    build(alternatives=alternatives(15_000, 255, 0))
    assert_done(predict("--features", "FAST"))


def test_keys_that_cannot_be_read(build: Build) -> None:
    build(jumps=b"".join(struct.pack("<QQQ", BASE + 2 * n, BASE, 0xDEAD0000 + n) for n in range(500_000)))
    cost = predict()
    assert_done(cost)
    assert "500000" in cost.out


def test_an_image_that_takes_much_room(build: Build) -> None:
    build(locks=struct.pack("<Q", BASE), bss=300 << 20)
    assert_refused(predict(), "MiB of memory")
    build(locks=struct.pack("<Q", BASE), bss=180 << 20)
    assert_done(predict())


def test_a_table_that_ends_before_it_begins(build: Build) -> None:
    build()
    Path("hostile.pvs").write_text(SPEC.replace("__start_jumps .. __stop_jumps", "__stop_jumps .. _text"))
    assert_refused(predict(), "are outside the image")
