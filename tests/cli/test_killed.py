"""The writer is killed, or its disk fails, at any moment: the output is the old file or the new one, whole."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pvspec.kernel import ImageError, KernelImage, open_kernel
from pvspec.support import whole_file

from .test_kernels import OPTIONS, SOURCE, vmlinux

__all__ = ["vmlinux"]

OLD = b"# from yesterday\n"
LARGE = 24 << 20  # bytes


# ---- at every call


class Faults:
    """All that writing asks of the system, counted; before or after call number `fatal` something happens."""

    def __init__(self, fatal: int, after: bool, happens: Callable[[], object]) -> None:
        self.calls: list[str] = []
        self._fatal, self._after, self._happens = fatal, after, happens

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(os, "open", self._create(os.open))
        patch.setattr(os, "chmod", self.around("chmod", os.chmod))
        patch.setattr(os, "link", self.around("link", os.link))
        patch.setattr(os, "replace", self.around("replace", os.replace))
        patch.setattr(os, "fdopen", self._opened)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            number = len(self.calls)
            self.calls.append(name)
            if number == self._fatal and not self._after:
                self._happens()
            try:
                return call(*arguments, **named)
            finally:
                if number == self._fatal and self._after:
                    self._happens()

        return counted

    def _create(self, opened: Callable[..., int]) -> Callable[..., int]:
        """`os.open`, of which only the calls count that create a file."""
        create = self.around("create", opened)

        def call(path: str, flags: int, *arguments: Any, **named: Any) -> int:
            creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
            return (create if creates else opened)(path, flags, *arguments, **named)

        return call

    def _opened(self, handle: int, _mode: str) -> io.BufferedWriter:
        raw = ShortWrites(handle, "wb")
        for name in "write", "seek", "close":
            setattr(raw, name, self.around(name, getattr(raw, name)))
        return io.BufferedWriter(raw)


class ShortWrites(io.FileIO):
    """A file that takes so little at once that an image needs many writes."""

    def write(self, data: Any) -> int:
        return super().write(memoryview(data)[:1024])


def write_with(faults: Faults, image: KernelImage) -> None:
    with pytest.MonkeyPatch.context() as patch:
        faults.install(patch)
        image.write(Path("out"), bytes(image.memory))


def nothing() -> None:
    """Let it pass."""


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the file system has files without a name."""
    if request.param == "named":
        monkeypatch.setattr(whole_file, "_UNNAMED", None)
    return str(request.param)


@pytest.fixture
def image(vmlinux: Path) -> KernelImage:
    return open_kernel(vmlinux)


@pytest.fixture
def new(image: KernelImage) -> bytes:
    """What is written to `out`."""
    image.write(Path("out"), bytes(image.memory))
    return Path("out").read_bytes()


@pytest.fixture
def calls(image: KernelImage, way: str) -> list[str]:
    """The calls that replacing it takes, by name."""
    Path("out").write_bytes(OLD)
    Path("out").chmod(0o664)
    faults = Faults(-1, False, nothing)
    write_with(faults, image)
    more = {"link"} if way == "unnamed" else set()
    assert {"create", "write", "seek", "close", "chmod", "replace"} | more == set(faults.calls)
    assert faults.calls.count("write") > 10
    return faults.calls


def renamed(calls: list[str], number: int, after: bool) -> bool:
    """Whether the new file has taken its place when the call of this number happens, or has happened."""
    return number + after > calls.index("replace")


def moments(calls: list[str]) -> Iterator[tuple[int, bool]]:
    yield from ((number, after) for number in range(len(calls)) for after in (False, True))


def fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("failure", "error"), [(fail, ImageError), (interrupt, KeyboardInterrupt)])
def test_an_error_at_every_call(
    image: KernelImage, new: bytes, calls: list[str], failure: Callable[[], None], error: type[BaseException]
) -> None:
    for number, after in moments(calls):
        Path("out").write_bytes(OLD)
        with pytest.raises(error):
            write_with(Faults(number, after, failure), image)
        assert Path("out").read_bytes() == (new if renamed(calls, number, after) else OLD), (number, after)
        assert not list(Path().glob(".out.*")), (calls[number], after)


def test_killed_at_every_call(image: KernelImage, new: bytes, calls: list[str], way: str) -> None:
    for number, after in moments(calls):
        Path("out").write_bytes(OLD)
        faults = Faults(number, after, die)
        assert killed_by(lambda: write_with(faults, image)) == signal.SIGKILL  # noqa: B023
        assert Path("out").read_bytes() == (new if renamed(calls, number, after) else OLD), (number, after)
        assert len(left()) <= 1, "what the one before left, it removed"
        if way == "unnamed":
            assert bool(left()) == ((calls[number], after) in WINDOW and number > calls.index("link")), calls[number]
    image.write(Path("out"), bytes(image.memory))
    assert Path("out").read_bytes() == new, "files left by killed runs do not disturb the next one"
    assert left() == []


WINDOW = [("link", True), ("replace", False)]  # the only moments at which a file with another name is there


def left() -> list[Path]:
    return [*Path().glob(".out.*")]


def test_a_new_file_is_nowhere_until_it_is_whole(image: KernelImage, new: bytes, way: str) -> None:
    if way == "named":
        return
    faults = Faults(-1, False, nothing)
    Path("out").unlink()
    write_with(faults, image)
    assert "replace" not in faults.calls
    for number, after in moments(faults.calls):
        Path("out").unlink(missing_ok=True)
        dying = Faults(number, after, die)
        assert killed_by(lambda: write_with(dying, image)) == signal.SIGKILL  # noqa: B023
        linked = number + after > faults.calls.index("link")
        assert (Path("out").read_bytes() if Path("out").exists() else b"") == (new if linked else b"")
        assert left() == []


def test_a_run_removes_no_file_but_its_own_kind(image: KernelImage) -> None:
    """One that is locked is another run's; one of another name or another kind is the user's."""
    Path("out").write_bytes(OLD)
    for name in (".out.new", ".out.0123456789abcdef", ".other.pvspec-new"):
        Path(name).touch()
    before = set(os.listdir())
    with open(".out.pvspec-new", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        image.write(Path("out"), bytes(image.memory))
        assert set(os.listdir()) == {*before, ".out.pvspec-new"}
    os.unlink(".out.pvspec-new")
    os.mkfifo(".out.pvspec-new")
    image.write(Path("out"), bytes(image.memory))
    assert set(os.listdir()) == {*before, ".out.pvspec-new"}
    os.unlink(".out.pvspec-new")
    Path(".out.pvspec-new").touch()
    image.write(Path("out"), bytes(image.memory))
    assert set(os.listdir()) == before


def test_many_runs_at_once(image: KernelImage, new: bytes) -> None:
    """Each replaces the same file again and again, and some are killed."""
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:
            for _ in range(40):
                image.write(Path("out"), bytes(image.memory))
                if number < 3 and random.Random().random() < 0.05:
                    die()
            os._exit(0)
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    assert ends[3:] == [0, 0, 0]
    assert Path("out").read_bytes() == new
    image.write(Path("out"), bytes(image.memory))
    assert left() == []


def killed_by(work: Callable[[], object]) -> int:
    """Run this in a process of its own; the signal that ended it, 0 if none."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


# ---- at any moment


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A kernel that takes a while to write."""
    monkeypatch.setattr(f"{vmlinux.__module__}.SOURCE", f"{SOURCE}\n.fill {LARGE // 8}, 8, 0x0123456789abcdef\n")
    path: Path = request.getfixturevalue("vmlinux")
    assert path.stat().st_size > LARGE
    return path


def test_killed_at_any_moment(large: Path, way: str) -> None:
    """A process that does nothing but write two images in turn, killed 25 times."""
    image, dice = open_kernel(large), random.Random(4)
    memories = [bytes(image.memory), bytes(image.memory).replace(b"\xef\xcd\xab\x89", b"\x00\x11\x22\x33")]
    wholes = []
    for memory in memories:
        image.write(Path("out"), memory)
        wholes.append(Path("out").read_bytes())
    assert wholes[0] != wholes[1]

    def write() -> None:
        while True:
            for memory in memories:
                image.write(Path("out"), memory)

    cut_short = 0
    for _ in range(25):
        child = os.fork()
        if child == 0:
            write()
        time.sleep(dice.uniform(0.005, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert Path("out").read_bytes() in wholes
        for path in left():
            cut_short += path.stat().st_size < len(wholes[0])
            path.unlink()
    assert bool(cut_short) == (way == "named"), "some were killed while they wrote"


def writes(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has a file open that has no name, or one that is not final."""
    with suppress(OSError):
        numbers = Path(f"/proc/{process.pid}/fd")
        return any(re.search(r"/#\d|/\.out\.", os.readlink(number)) for number in numbers.iterdir())
    return False


def test_the_command_killed_while_it_writes(large: Path) -> None:
    command = [sys.executable, "-m", "pvspec", "apply", "vmlinux", *OPTIONS, "-o", "out"]
    subprocess.run(command, check=True, capture_output=True)
    new, killed = Path("out").read_bytes(), 0
    for _ in range(3):
        Path("out").write_bytes(OLD)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not writes(process):
                time.sleep(0.0005)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        assert Path("out").read_bytes() in (OLD, new)
        assert all(path.read_bytes() == new for path in left())
    assert killed
