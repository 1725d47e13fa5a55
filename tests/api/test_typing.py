"""What mypy sees of the middle: six mistakes are planted in a copy, and each is found where it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pvspec

PACKAGE = Path(pvspec.__file__).parent
BACKEND_IS = """            case BackendIs(backend):
                return facts.backend == backend
"""
#: What it is: the file, what is there, what is put there instead, and how mypy names it.
PLANTED = {
    "a misspelt method": ("engine/apply.py", "sites.outcome(site,", "sites.outcomes(site,", '"outcomes"'),
    "a misspelt keyword": ("prediction/bind.py", "cmdline=machine.cmdline", "cmd_line=machine.cmdline", '"cmd_line"'),
    "a misspelt guard": ("lang/check/guards.py", "guards.CpuHasField(", "guards.CpuHasFeild(", '"CpuHasFeild"'),
    "a misspelt field": ("prediction/passes.py", "site.unreadable, None", "site.unreadeable, None", '"unreadeable"'),
    "a wrong type": ("prediction/bind.py", "nops=machine.nops", "nops=machine.options", '"nops" to "Facts"'),
    "a missing case": ("engine/decide.py", BACKEND_IS, "", '"BackendIs"; expected "Never"'),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of a copy with all mistakes in it."""
    copied = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("planted") / "pvspec")
    for file, old, new, _ in PLANTED.values():
        text = copied.joinpath(file).read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        copied.joinpath(file).write_text(text.replace(old, new), encoding="utf-8")
    shutil.copy(PACKAGE.parent / "pyproject.toml", copied.parent)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(copied.parent / "cache"), "pvspec"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=copied.parent)
    return [line for line in done.stdout.splitlines() if ": error: " in line]


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_is_found(found: list[str], mistake: str) -> None:
    file, _, _, named = PLANTED[mistake]
    assert any(line.startswith(f"pvspec/{file}:") and named in line for line in found), found


def test_nothing_else_is(found: list[str]) -> None:
    assert len(found) <= 2 * len(PLANTED), found
