"""No reader comes without a target: what the targets' own seeds reach of each module, and each option of a command."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pvspec.cli import COMMANDS, _command
from tests.fuzz.commands import OPTIONS

_LEAST = 0.25  # of a module's blocks
_WITHOUT = {
    "pvspec.lang.parse.tables": "reads only what was authenticated, and whatever it cannot read is built anew",
}


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("reach")
    environment = {**os.environ, "PVSPEC_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "tests.fuzz.reach"]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shares: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return shares


def test_each_reader_is_reached(reached: dict[str, float]) -> None:
    """A new one needs a target whose seeds are what it reads, or a reason why not."""
    assert len(reached) > 30
    assert {name for name, share in reached.items() if share < _LEAST} == _WITHOUT.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_tried(name: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    _command(name).arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert options <= OPTIONS
