"""The writer is killed, or its disk fails, at any moment: the output is the old file or the new one, whole."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pvspec.kernel import ImageError, KernelImage, open_kernel

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
        patch.setattr(os, "replace", self.around("replace", os.replace))
        patch.setattr(os, "fdopen", self._opened)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            number = len(self.calls)
            self.calls.append(name)
            if number == self._fatal and not self._after:
                self._happens()
            value = call(*arguments, **named)
            if number == self._fatal and self._after:
                self._happens()
            return value

        return counted

    def _create(self, opened: Callable[..., int]) -> Callable[..., int]:
        """`os.open`, of which only the calls count that create a file."""
        create = self.around("create", opened)

        def call(path: str, flags: int, *arguments: Any, **named: Any) -> int:
            return (create if flags & os.O_CREAT else opened)(path, flags, *arguments, **named)

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


@pytest.fixture
def image(vmlinux: Path) -> KernelImage:
    return open_kernel(vmlinux)


@pytest.fixture
def new(image: KernelImage) -> bytes:
    """What is written to `out`."""
    image.write(Path("out"), bytes(image.memory))
    return Path("out").read_bytes()


@pytest.fixture
def calls(image: KernelImage) -> list[str]:
    """The calls that writing it takes, by name."""
    faults = Faults(-1, False, nothing)
    write_with(faults, image)
    assert {"create", "write", "seek", "close", "chmod", "replace"} == set(faults.calls)
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


def test_killed_at_every_call(image: KernelImage, new: bytes, calls: list[str]) -> None:
    for number, after in moments(calls):
        Path("out").write_bytes(OLD)
        faults = Faults(number, after, die)
        assert killed_by(lambda: write_with(faults, image)) == signal.SIGKILL  # noqa: B023
        assert Path("out").read_bytes() == (new if renamed(calls, number, after) else OLD), (number, after)
    image.write(Path("out"), bytes(image.memory))
    assert Path("out").read_bytes() == new, "files left by killed runs do not disturb the next one"


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


def test_killed_at_any_moment(large: Path) -> None:
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
        for left in Path().glob(".out.*"):
            cut_short += left.stat().st_size < len(wholes[0])
            left.unlink()
    assert cut_short, "some were killed while they wrote"


def test_the_command_killed_while_it_writes(large: Path) -> None:
    command = [sys.executable, "-m", "pvspec", "apply", "vmlinux", *OPTIONS, "-o", "out"]
    subprocess.run(command, check=True, capture_output=True)
    new, killed = Path("out").read_bytes(), 0
    for _ in range(3):
        Path("out").write_bytes(OLD)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not any(Path().glob(".out.*")):
                time.sleep(0.0005)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        assert Path("out").read_bytes() in (OLD, new)
        for left in Path().glob(".out.*"):
            left.unlink()
    assert killed
