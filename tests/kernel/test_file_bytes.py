"""Files on disk that somebody writes to, cuts short or replaces while they are read; and what is no file to read."""

from __future__ import annotations

import copy
import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.kernel import ImageError, KernelImage, open_dump, open_kernel
from pvspec.kernel.files import file_bytes
from pvspec.kernel.files.file_bytes import FileBytes
from pvspec.kernel.files.reader import as_stream

from .test_moved_dump import SLIDE, kernel_file, mapped

CHANGED = "was changed while it was read: give a file that nobody writes to"


def cut(path: Path) -> None:
    os.truncate(path, 100)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    """As large as before, a second later."""
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


CHANGES = (cut, grow, rewrite)


@pytest.fixture
def kernel(tmp_path: Path) -> KernelImage:
    (tmp_path / "kernel").write_bytes(kernel_file(64))
    return open_kernel(tmp_path / "kernel")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "use",
    [
        lambda kernel: kernel.moved(SLIDE),
        lambda kernel: kernel.relocations,
        lambda kernel: kernel.write(Path(kernel.name).with_name("out"), kernel.memory),
        pickle.dumps,
    ],
    ids=["moved", "relocations", "write", "pickle"],
)
def test_a_kernel_that_changes(
    kernel: KernelImage, change: Callable[[Path], None], use: Callable[[KernelImage], object]
) -> None:
    change(Path(kernel.name))
    with pytest.raises(ImageError, match=CHANGED):
        use(kernel)
    assert len(kernel.memory) == kernel.end - kernel.base
    assert sorted(path.name for path in Path(kernel.name).parent.iterdir()) == ["kernel"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_dump_that_changes(kernel: KernelImage, tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "dump"
    path.write_bytes(mapped(kernel))
    dump = open_dump(path, kernel)
    dump.read(kernel.base + SLIDE, 8)
    change(path)
    with pytest.raises(ImageError, match=f"^{path}: {CHANGED}"):
        dump.read(kernel.base + SLIDE, 8)


def test_what_is_cut_short_kills_nobody(kernel: KernelImage, tmp_path: Path) -> None:
    """Whoever touches the lost pages of a mapped file gets SIGBUS: in a process of its own, lest it be this one."""
    path = tmp_path / "dump"
    path.write_bytes(mapped(kernel))
    script = """
import os, sys
from pvspec import PvspecError, open_dump, open_kernel
kernel = open_kernel(sys.argv[1])
dump = open_dump(sys.argv[2], kernel)
os.truncate(sys.argv[1], 1)
os.truncate(sys.argv[2], 1)
for use in lambda: kernel.moved(dump.slide), lambda: dump.read(kernel.base + dump.slide, 4096):
    try:
        use()
    except PvspecError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, kernel.name, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(CHANGED) == 2


def test_one_that_is_replaced_is_the_one_that_was_opened(kernel: KernelImage, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "other").replace(kernel.name)
    kernel.write(tmp_path / "out", kernel.memory)
    assert kernel_file(64).startswith((tmp_path / "out").read_bytes())


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


NO_FILES: dict[str, Callable[[Path], Path]] = {
    "a folder": lambda path: path.mkdir() or path,  # type: ignore[func-returns-value]
    "a FIFO": lambda path: os.mkfifo(path) or path,  # type: ignore[func-returns-value]
    "a socket": listening,
    "a terabyte of holes": sparse,
    "endless zeros": lambda path: Path("/dev/zero"),
    "nothing": lambda path: Path("/dev/null"),
    "memory": lambda path: Path("/proc/self/mem"),
    "text without a size": lambda path: Path("/proc/self/maps"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file(kernel: KernelImage, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    place = make(tmp_path / "none")
    if not place.exists():
        pytest.skip(f"{place} does not exist")
    for use in open_kernel, lambda path: open_dump(path, kernel):
        with pytest.raises(ImageError, match=f"^{place}: "):
            use(place)


def test_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    file = FileBytes(path)
    assert (len(file), file[:], bytes(file), file[2:4], file[8:99], file[5:2]) == (
        *(10, b"0123456789", b"0123456789"),
        *(b"23", b"89", b""),
    )
    assert copy.copy(file) is copy.deepcopy(file) is file
    assert pickle.loads(pickle.dumps(file)) == b"0123456789"


def test_parts_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_bytes, "MAX_PART", 3 << 20)
    file = FileBytes(sparse(tmp_path / "file"))
    assert file[5 : 5 + (3 << 20)] == bytes(3 << 20)
    with pytest.raises(ImageError, match=r"^3 MiB at 0x5 of the file are too many at once: more than 3$"):
        file[5 : 6 + (3 << 20)]


@given(st.data())
def test_streams(data: st.DataObject) -> None:
    """Against a file of the same bytes, whatever is done with it."""
    whole = data.draw(st.binary(max_size=40))
    start = data.draw(st.integers(0, len(whole)))
    size = data.draw(st.integers(0, len(whole) - start))
    ours, other = as_stream(whole, start, size), io.BytesIO(whole[start : start + size])
    for offset, whence, count in data.draw(
        st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0, 2]), st.integers(0, 50)))
    ):
        assert ours.seek(offset, whence) == other.seek(offset, whence)
        assert ours.read(count) == other.read(count)
        assert ours.tell() == other.tell()
