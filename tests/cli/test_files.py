"""Outputs are whole or not there, whatever happens."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from .conftest import SPEC, Run


def entries() -> list[str]:
    return sorted(os.listdir())


@pytest.fixture
def old(spec: Path) -> Path:
    """An output from an earlier run."""
    path = Path("out.py")
    path.write_text("# from yesterday\n", encoding="utf-8")
    return path


def assert_untouched(old: Path) -> None:
    assert old.read_text(encoding="utf-8") == "# from yesterday\n"
    assert [name for name in entries() if name not in ("toy.pvs", "wrong.pvs", "out.py")] == []


def test_a_wrong_spec_leaves_the_old_output(run: Run, wrong: Path, old: Path) -> None:
    assert run("compile", wrong, "-o", old).code == 1
    assert_untouched(old)


@pytest.mark.parametrize("call", ["write", "replace", "fsync", "chmod"])
@pytest.mark.parametrize("command", ["compile", "fmt"])
def test_a_disk_that_fails(
    run: Run, spec: Path, old: Path, monkeypatch: pytest.MonkeyPatch, call: str, command: str
) -> None:
    """Each step of writing fails in turn; a step that is not taken cannot fail."""
    spec.write_text(SPEC.replace("    ", "  "), encoding="utf-8")
    before = spec.read_bytes()
    failed = []

    def fail(*_: object, **__: object) -> Any:
        failed.append(call)
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        fdopen = os.fdopen

        def full(*arguments: Any, **named: Any) -> Any:
            file = fdopen(*arguments, **named)
            file.close()
            return fail()

        monkeypatch.setattr(os, "fdopen", full)
    else:
        monkeypatch.setattr(os, call, fail)
    done = run("compile", spec, "-o", old) if command == "compile" else run("fmt", spec)
    monkeypatch.undo()
    os.chdir(Path(os.environ["PWD"])) if False else None
    if failed:
        assert done.code == 1
        assert "cannot be written: No space left on device" in done.err
        assert spec.read_bytes() == before
        assert_untouched(old)
