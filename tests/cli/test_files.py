"""Outputs are whole or not there, whatever happens."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import SPEC, Run

RAGGED = SPEC.replace("    ", "  ")


@pytest.fixture
def old(spec: Path) -> Path:
    """An output from an earlier run."""
    path = Path("out.py")
    path.write_text("# from yesterday\n", encoding="utf-8")
    return path


def assert_untouched(old: Path) -> None:
    assert old.read_text(encoding="utf-8") == "# from yesterday\n"
    assert set(os.listdir()) <= {"toy.pvs", "wrong.pvs", "out.py"}


def test_a_wrong_spec_leaves_the_old_output(run: Run, wrong: Path, old: Path) -> None:
    assert run("compile", wrong, "-o", old).code == 1
    assert_untouched(old)


@pytest.mark.parametrize("command", [("compile", "toy.pvs", "-o", "out.py"), ("fmt", "toy.pvs")])
def test_a_full_disk(spec: Path, old: Path, command: tuple[str, ...]) -> None:
    """The limit on a file's size is a full disk that needs no disk."""
    spec.write_text(RAGGED + "# and a long tail\n" * 200, encoding="utf-8")
    before = spec.read_bytes()
    script = f'ulimit -f 2; exec "{sys.executable}" -m pvspec {" ".join(command)}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {command[-1]} cannot be written: File too large\n\n"
    assert spec.read_bytes() == before
    assert_untouched(old)


@pytest.mark.parametrize("call", ["replace", "chmod"])
@pytest.mark.parametrize("command", [("compile", "toy.pvs", "-o", "out.py"), ("fmt", "toy.pvs")])
def test_a_disk_that_fails(
    run: Run, spec: Path, old: Path, monkeypatch: pytest.MonkeyPatch, call: str, command: tuple[str, ...]
) -> None:
    spec.write_text(RAGGED, encoding="utf-8")

    def fail(*_: object, **__: object) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        done = run(*command)
    assert done.code == 1
    assert "cannot be written: Input/output error" in done.err
    assert spec.read_text(encoding="utf-8") == RAGGED
    assert_untouched(old)


def test_stopped_while_writing(run: Run, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("compile", "toy.pvs", "-o", old)
    assert_untouched(old)


@pytest.mark.parametrize("output", ["missing/out.py", "toy.pvs/out.py", ".", "folder"])
def test_an_output_that_cannot_be(run: Run, spec: Path, output: str) -> None:
    Path("folder").mkdir()
    done = run("compile", spec, "-o", output)
    assert done.code == 1
    assert f"{output} cannot be written: " in done.err
    assert sorted(os.listdir()) == ["folder", "toy.pvs"]
    assert os.listdir("folder") == []


def test_a_folder_without_permission(run: Run, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the refusal is simulated."""

    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    done = run("compile", spec, "-o", "out.py")
    assert done.code == 1
    assert "out.py cannot be written: Permission denied" in done.err


def test_an_output_that_is_no_regular_file(spec: Path) -> None:
    """Not even root wants `-o /dev/null` to put a file in its place, and a pipe's other end may never come."""
    os.mkfifo("out.py")
    command = [sys.executable, "-m", "pvspec", "compile", "toy.pvs", "-o", "out.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "error: out.py cannot be written: " in done.stderr
    assert stat.S_ISFIFO(os.stat("out.py").st_mode)
    assert sorted(os.listdir()) == ["out.py", "toy.pvs"]


@pytest.mark.parametrize("command", [("compile", "toy.pvs", "-o", "link"), ("fmt", "link")])
def test_an_output_through_a_link(run: Run, spec: Path, command: tuple[str, ...]) -> None:
    Path("target").write_text(RAGGED, encoding="utf-8")
    Path("link").symlink_to("target")
    assert run(*command).code == 0
    assert Path("link").is_symlink()
    assert Path("target").read_text(encoding="utf-8") != RAGGED


def test_the_mode_is_what_the_umask_says(run: Run, spec: Path) -> None:
    assert run("compile", spec, "-o", "out.py").code == 0
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(os.stat("out.py").st_mode) == 0o666 & ~mask


def test_fmt_keeps_the_mode(run: Run, spec: Path) -> None:
    spec.write_text(RAGGED, encoding="utf-8")
    spec.chmod(0o640)
    assert run("fmt", spec).code == 0
    assert stat.S_IMODE(spec.stat().st_mode) == 0o640


def test_what_has_not_changed_is_not_written(run: Run, spec: Path) -> None:
    run("compile", spec, "-o", "out.py")
    before = os.stat("out.py")
    assert "unchanged" in run("compile", spec, "-o", "out.py").out
    after = os.stat("out.py")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
