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
    for path in (spec, old):
        path.chmod(0o666)  # which the umask does not give

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
        done = run("compile", "toy.pvs", "-o", old)
    assert (done.code, done.out, done.err) == (130, "", "error: stopped by SIGINT\n")
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
    opened = os.open

    def refuse(path: str, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    done = run("compile", spec, "-o", "out.py")
    assert done.code == 1
    assert "out.py cannot be written: Permission denied" in done.err


def as_user(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """A process of its own: whatever it waits for, it does not wait for ever."""
    return subprocess.run([sys.executable, "-m", "pvspec", *command], capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "null", "full", "stdout", "link to null", "link to fifo"])
def test_an_output_that_is_not_a_regular_file(spec: Path, kind: str) -> None:
    """Not even root wants `-o /dev/null` to put a file in its place, and a pipe's other end may never come."""
    output = {"null": "/dev/null", "full": "/dev/full", "stdout": "/dev/stdout"}.get(kind, "out.py")
    match kind:
        case "fifo":
            os.mkfifo("out.py")
        case "socket":
            os.mknod("out.py", stat.S_IFSOCK | 0o600)
        case "folder":
            os.mkdir("out.py")
        case "link to null":
            os.symlink("/dev/null", "out.py")
        case "link to fifo":
            os.mkfifo("fifo")
            os.symlink("fifo", "out.py")
    before = os.stat(output, follow_symlinks=False)
    listed = os.listdir()
    done = as_user(("compile", "toy.pvs", "-o", output))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {output} cannot be written: it is not a regular file\n\n"
    assert os.listdir() == listed
    assert os.path.samestat(before, os.stat(output, follow_symlinks=False)) or kind == "stdout"


@pytest.mark.parametrize("command", [("compile", "toy.pvs", "-o", "link.pvs"), ("fmt", "link.pvs")])
@pytest.mark.parametrize("target", ["target.pvs", "../outside.pvs", "missing.pvs"])
def test_an_output_that_is_a_link(run: Run, spec: Path, target: str, command: tuple[str, ...]) -> None:
    """Whoever made the link would choose the file that is lost."""
    if target != "missing.pvs":
        Path(target).write_text(RAGGED, encoding="utf-8")
    elif command[0] == "fmt":
        return
    Path("link.pvs").symlink_to(target)
    done = run(*command)
    assert done.code == 1
    assert "link.pvs cannot be written: it is a symbolic link; name the file itself" in done.err
    assert os.readlink("link.pvs") == target
    assert target == "missing.pvs" or Path(target).read_text(encoding="utf-8") == RAGGED
    assert Path(target).exists() == (target != "missing.pvs")


def test_a_link_to_the_same_bytes(run: Run, spec: Path) -> None:
    """That nothing would change does not make a link a file."""
    assert run("compile", spec, "-o", "out.py").code == 0
    Path("link").symlink_to("out.py")
    assert run("compile", spec, "-o", "link").code == 1


def test_a_folder_behind_a_link_of_ours(run: Run, spec: Path) -> None:
    Path("folder").mkdir()
    Path("link").symlink_to("folder")
    assert run("compile", spec, "-o", "link/out.py").code == 0
    assert Path("folder/out.py").exists()


other_user = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
NOBODY = 65534


@other_user
@pytest.mark.parametrize("target", ["folder", "{}/folder"])
def test_a_folder_behind_another_users_link(run: Run, spec: Path, target: str) -> None:
    Path("folder").mkdir()
    os.symlink(target.format(os.getcwd()), "link")
    os.chown("link", NOBODY, NOBODY, follow_symlinks=False)
    done = run("compile", spec, "-o", "link/out.py")
    assert done.code == 1
    assert "link/out.py cannot be written: `link` on the way to it is another user's symbolic link" in done.err
    assert os.listdir("folder") == []


@other_user
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_another_users_file_where_everybody_may_write(run: Run, spec: Path, mode: int) -> None:
    Path("all").mkdir()
    os.chmod("all", mode)
    Path("all/out.py").write_text("theirs\n", encoding="utf-8")
    os.chown("all/out.py", NOBODY, NOBODY)
    done = run("compile", spec, "-o", "all/out.py")
    assert done.code == 1
    assert "it is another user's file in a folder that everybody may write to" in done.err
    assert Path("all/out.py").read_text(encoding="utf-8") == "theirs\n"
    assert run("compile", spec, "-o", "all/ours.py").code == 0


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("old", [0o4755, 0o2755, 0o6777, 0o1644, 0o755, 0o700, 0o600, 0o640, 0o664, 0o444])
def test_our_file_keeps_its_mode_but_for_the_set_uid_bits(run: Run, spec: Path, old: int) -> None:
    Path("out.py").touch()
    os.chmod("out.py", old)
    assert run("compile", spec, "-o", "out.py").code == 0
    assert mode_of("out.py") == old & 0o777


@other_user
@pytest.mark.parametrize("old", [0o4755, 0o6777, 0o777, 0o755, 0o600, 0o440])
def test_what_was_another_users_is_not_executable(run: Run, spec: Path, old: int) -> None:
    """It is ours now: with its set-uid bit, whatever is in it would run as us."""
    Path("out.py").touch()
    os.chown("out.py", NOBODY, NOBODY)
    os.chmod("out.py", old)
    assert run("compile", spec, "-o", "out.py").code == 0
    assert os.stat("out.py").st_uid == os.geteuid()
    expected = old & 0o644 if old & 0o004 else old & 0o604  # our group gets no more than all others
    assert mode_of("out.py") == expected


@other_user
def test_the_group_is_kept(run: Run, spec: Path) -> None:
    Path("out.py").touch()
    os.chown("out.py", -1, NOBODY)
    os.chmod("out.py", 0o664)
    assert run("compile", spec, "-o", "out.py").code == 0
    assert (os.stat("out.py").st_gid, mode_of("out.py")) == (NOBODY, 0o664)


@other_user
def test_a_group_that_cannot_be_kept_lends_no_rights(run: Run, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    Path("out.py").touch()
    os.chown("out.py", -1, NOBODY)
    os.chmod("out.py", 0o674)
    monkeypatch.setattr(os, "chown", refuse)
    assert run("compile", spec, "-o", "out.py").code == 0
    assert mode_of("out.py") == 0o644


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
