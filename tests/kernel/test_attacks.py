"""Inputs that ask for too much, each as a command has it: refused by name or done with, in bounded time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from .attacks import ATTACKS, Attack

SECONDS, MEMORY = 30, 1 << 20  # of CPU, and KiB: machines differ, so a command has more time here than it is promised


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_it_costs(attack: Attack, tmp_path: Path) -> None:
    words = attack(tmp_path)
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pvspec", *words],
            cwd=tmp_path,
            stdout=said,
            stderr=said,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().strip()
    print(text)
    assert (process.returncode, text[:7], text.count("\n")) == (1, "error: ", 0)
    assert usage.ru_maxrss < MEMORY
