"""Inputs that ask for too much, each as a command has it: refused by name or done with, in bounded time and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..measured import measured
from .attacks import ATTACKS, Attack

SECONDS, MEMORY = 30, 1 << 20  # of CPU, and KiB: machines differ, so a command has more time here than it is promised


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_it_costs(attack: Attack, tmp_path: Path) -> None:
    words = attack(tmp_path)
    done = measured([sys.executable, "-m", "pvspec", *words], SECONDS, cwd=tmp_path)
    text = (done.out + done.err).strip()
    print(text)
    assert (done.code, text[:7], text.count("\n")) == (1, "error: ", 0)
    assert done.memory < MEMORY
