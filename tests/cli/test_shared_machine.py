"""Outputs in folders that others prepared, surroundings that nobody expects."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.support.output import replacing, write_file

from .conftest import NOBODY, SPEC, Run, other_user
from .test_files import mode_of
from .test_outcome import PVSPEC

ACL = "system.posix_acl_access"
SECRET = "not for others\n"


@pytest.fixture
def theirs(spec: Path) -> Path:
    """A folder of another user's."""
    folder = Path("theirs")
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture
def secret(spec: Path) -> Path:
    path = Path("secret")
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(0o600)
    return path


# ---- what another user puts in the way of root


@other_user
@pytest.mark.parametrize("name", ["out.py", ".out.py.pvspec-new"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.symlink("../secret", path),
        lambda path: os.symlink("../new", path),
        lambda path: os.link("secret", path),
        os.mkfifo,
        os.mkdir,
        lambda path: os.mknod(path, stat.S_IFSOCK | 0o666),
        lambda path: path.write_text("theirs", encoding="utf-8"),
    ],
)
def test_what_is_in_the_way(run: Run, theirs: Path, secret: Path, name: str, make: Callable[[Path], object]) -> None:
    """Whatever it is, nothing outside the folder changes, and the result is whole or refused."""
    make(theirs / name)
    before = set(os.listdir())
    done = run("compile", "toy.pvs", "-o", "theirs/out.py")
    assert secret.read_text(encoding="utf-8") == SECRET
    assert mode_of("secret") == 0o600
    assert set(os.listdir()) == before
    assert done.code == 1 or (theirs / "out.py").read_text(encoding="utf-8").startswith('"""')
    if done.code == 0:
        assert os.stat(theirs / "out.py").st_nlink == 1
    else:
        assert "cannot be written: " in done.err


@other_user
def test_a_set_uid_file_of_theirs(run: Run, theirs: Path) -> None:
    """It would become root's, with contents from an image."""
    Path("theirs/out.py").touch()
    os.chown("theirs/out.py", NOBODY, NOBODY)
    os.chmod("theirs/out.py", 0o6777)
    assert run("compile", "toy.pvs", "-o", "theirs/out.py").code == 0
    assert mode_of("theirs/out.py") & 0o7133 == 0


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_hard_links_in_a_folder_for_all(run: Run, secret: Path, mode: int) -> None:
    """Without fs.protected_hardlinks anybody can make one, and the new file would have that file's permissions."""
    Path("all").mkdir()
    Path("all").chmod(mode)
    Path("script").touch()
    Path("script").chmod(0o777)
    os.link("script", "all/out.py")
    done = run("compile", "toy.pvs", "-o", "all/out.py")
    assert done.code == 1
    assert "it has other names as well (hard links), in a folder that everybody may write to" in done.err
    os.link("script", "here.py")
    assert run("compile", "toy.pvs", "-o", "here.py").code == 0
    assert Path("script").read_bytes() == b""


@other_user
def test_a_folder_that_is_replaced_while_we_write(theirs: Path, secret: Path) -> None:
    """By a link to one of ours; the file goes where the folder went."""
    Path("ours").mkdir()
    with replacing(theirs / "out") as file:
        theirs.rename("moved")
        Path("theirs").symlink_to("ours")
        file.write(b"x")
    assert os.listdir("ours") == []
    assert os.listdir("moved") == ["out"]


@other_user
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_user_without_rights(run_as_nobody: Run, mode: int) -> None:
    Path("roots").mkdir()
    Path("roots").chmod(mode)
    Path("roots/out.py").write_text("root's", encoding="utf-8")
    assert "cannot be written" in run_as_nobody("compile", "toy.pvs", "-o", "roots/out.py").err
    assert Path("roots/out.py").read_text(encoding="utf-8") == "root's"
    done = run_as_nobody("compile", "toy.pvs", "-o", "roots/new.py")
    assert done.code == (0 if mode & 2 else 1)
    assert sorted(os.listdir("roots")) == (["new.py", "out.py"] if mode & 2 else ["out.py"])


# ---- permissions


def acl(group: int, user: int, mask: int) -> bytes:
    """An access control list as Linux keeps it: the owner rw, one more user, the group, the mask, no others."""
    entries = [(0x01, 6, -1), (0x02, user, NOBODY), (0x04, group, -1), (0x10, mask, -1), (0x20, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


@pytest.fixture
def listed(spec: Path) -> Path:
    path = Path("out.py")
    path.touch()
    try:
        os.setxattr(path, ACL, acl(group=0, user=4, mask=4))
    except OSError:
        pytest.skip("the file system has no access control lists")
    return path


def test_an_access_control_list_is_kept(run: Run, listed: Path) -> None:
    """Without it the group would get what the list's mask says."""
    assert run("compile", "toy.pvs", "-o", listed).code == 0
    assert os.getxattr(listed, ACL) == acl(group=0, user=4, mask=4)


def test_a_list_that_cannot_be_kept(run: Run, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    assert run("compile", "toy.pvs", "-o", listed).code == 0
    assert mode_of("out.py") == 0o600


@other_user
def test_a_list_of_another_users(run: Run, listed: Path) -> None:
    """What its mode shows as the group's rights is the most that anybody on the list has; the group has none."""
    os.chown(listed, NOBODY, -1)
    assert run("compile", "toy.pvs", "-o", listed).code == 0
    assert mode_of("out.py") == 0o600


def test_a_list_that_the_folder_gives(run: Run, listed: Path) -> None:
    listed.unlink()
    os.setxattr(".", "system.posix_acl_default", acl(group=6, user=6, mask=6))
    listed.touch()
    os.removexattr(listed, ACL)
    listed.chmod(0o600)
    assert run("compile", "toy.pvs", "-o", listed).code == 0
    assert mode_of("out.py") == 0o600
    with pytest.raises(OSError, match="No data"):
        os.getxattr(listed, ACL)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_the_umask(run: Run, spec: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert run("compile", "toy.pvs", "-o", "out.py").code == 0
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert mode_of("out.py") == 0o666 & ~mask


def test_the_same_bytes_leave_another_users_set_uid_file_alone(spec: Path) -> None:
    assert write_file(Path("out"), b"same")
    os.chmod("out", 0o4755)
    assert not write_file(Path("out"), b"same")
    assert write_file(Path("out"), b"other")
    assert mode_of("out") == 0o755


# ---- outputs that are inputs


@pytest.mark.parametrize("output", ["toy.pvs", "./toy.pvs", "link.pvs", "hard.pvs"])
def test_an_output_that_is_an_input(run: Run, spec: Path, output: str) -> None:
    """Evidence would be lost."""
    before = spec.read_bytes()
    Path("link.pvs").symlink_to("toy.pvs")
    os.link("toy.pvs", "hard.pvs")
    for command in (["compile", "toy.pvs"], ["predict", "toy.pvs"], ["apply", "x", "--state", "toy.pvs"]):
        done = run(*command, "-o", output)
        assert (done.code, done.out) == (1, "")
        assert "is read by this command; name another file to write" in done.err
    assert spec.read_bytes() == before


def test_an_output_that_is_given_twice(run: Run, spec: Path) -> None:
    assert run("compile", "toy.pvs", "-o", "one.py", "-o", "two.py").code == 0
    assert sorted(path.name for path in Path().glob("*.py")) == ["two.py"]


# ---- surroundings


@pytest.fixture
def absolute(spec: Path) -> str:
    return str(spec.absolute())


@pytest.mark.parametrize("confined", [(), ("--confined",)])
def test_a_current_folder_that_is_gone(absolute: str, confined: tuple[str, ...]) -> None:
    Path("gone").mkdir()

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        script = 'cd gone && rmdir ../gone && "$@"; status=$?; mkdir "$OLDPWD/gone"; exit $status'
        return subprocess.run(["sh", "-c", script, "sh", *PVSPEC, *confined, *words], capture_output=True, text=True)

    assert start("check", absolute).stdout == f"{absolute}: fine\n"
    assert start("check", "toy.pvs").stderr == "error: the current folder: No such file or directory\n\n"
    assert start("compile", absolute, "-o", "x").stderr == (
        "error: x cannot be written: its folder has been deleted\n\n"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HOME": ""},
        {"HOME": "relative"},
        {"HOME": "/nonexistent"},
        {"XDG_CACHE_HOME": "relative"},
        {"PVSPEC_CACHE": "/dev/null"},
        {"PVSPEC_CACHE": "/proc/self/fd/0"},
        {"PVSPEC_CACHE": "x" * 5000},
        {"PVSPEC_CACHE": "toy.pvs"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"TMPDIR": "/nonexistent"},
    ],
    ids=str,
)
@pytest.mark.parametrize("confined", [(), ("--confined",)])
def test_an_environment_that_says_nothing(spec: Path, environment: dict[str, str], confined: tuple[str, ...]) -> None:
    kept = {"PYTHONPATH": os.environ["PYTHONPATH"], "HOME": str(Path("home").absolute())}
    done = subprocess.run(
        [*PVSPEC, *confined, "check", "toy.pvs"], capture_output=True, text=True, env={**kept, **environment}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "toy.pvs: fine\n", "")
    assert set(os.listdir()) <= {"toy.pvs", "home"}


# ---- the cache


def test_flipped_bits_in_every_file_of_the_cache(spec: Path) -> None:
    """Nothing is said of it, and the results are the same."""
    environment = {**os.environ, "PVSPEC_CACHE": str(Path("cache").absolute())}
    shutil.copytree(Path(os.environ["PYTHONPATH"], "specs/linux"), "folder")

    def results() -> list[tuple[int, str, str]]:
        commands = [("check", "folder"), ("test", "toy.pvs"), ("compile", "toy.pvs", "-o", "out.py")]
        Path("out.py").unlink(missing_ok=True)
        done = [subprocess.run([*PVSPEC, *c], capture_output=True, text=True, env=environment) for c in commands]
        return [(one.returncode, one.stdout, one.stderr) for one in done] + [(0, Path("out.py").read_text(), "")]

    first, dice = results(), random.Random(9)
    assert [code for code, _, _ in first] == [0, 0, 0, 0]
    files = sorted(Path("cache").iterdir())
    assert len(files) > 2
    for change in ("flip", "cut", "swap"):
        for path in files:
            data = bytearray(path.read_bytes())
            if change == "flip":
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            path.write_bytes(data[: dice.randrange(len(data))] if change == "cut" else data)
        if change == "swap":
            contents = [path.read_bytes() for path in files]
            for path, other in zip(files, reversed(contents), strict=True):
                path.write_bytes(other)
        assert results() == first


@other_user
@pytest.mark.parametrize("there", [True, False])
def test_root_leaves_nothing_in_a_users_home(theirs: Path, there: bool) -> None:
    """As with `sudo`, which keeps $HOME: the user's cache is neither trusted nor written, nor made."""
    if there:
        (theirs / ".cache/pvspec").mkdir(parents=True)
        for path in (theirs / ".cache", theirs / ".cache/pvspec"):
            os.chown(path, NOBODY, NOBODY)
    environment = {name: value for name, value in os.environ.items() if name not in ("PVSPEC_CACHE", "XDG_CACHE_HOME")}
    environment["HOME"] = str(theirs.absolute())
    done = subprocess.run([*PVSPEC, "check", "toy.pvs", "--json"], capture_output=True, text=True, env=environment)
    assert json.loads(done.stdout)["ok"]
    assert [path for path in theirs.rglob("*") if path.is_file()] == []
    assert bool(os.listdir(theirs)) == there


def test_runs_at_once(spec: Path) -> None:
    environment = {**os.environ, "PVSPEC_CACHE": str(Path("cache").absolute())}
    words = [*PVSPEC, "compile", "toy.pvs", "-o", "out.py"]
    runs = [subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(4)]
    assert [(one.communicate()[1], one.returncode) for one in runs] == [(b"", 0)] * 4
    assert [name for name in (*os.listdir(), *os.listdir("cache")) if name.startswith(".")] == []
    assert subprocess.run([sys.executable, "-I", "-S", "out.py"]).returncode == 0
    assert Path("toy.pvs").read_text(encoding="utf-8") == SPEC
