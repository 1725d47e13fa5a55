"""Packages and compressed images that mean harm: each is refused by name, soon and in little memory."""

from __future__ import annotations

import bz2
import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.kernel.test_archives import entry, with_size
from tests.kernel.test_containers import PACKERS, bzimage, package
from tests.measured import Measured, measured

SECONDS, ADDRESSES, MEMORY = 60, 1536 << 20, 1 << 20  # of CPU, bytes, KiB; the benchmarks say how long a run takes
ELF = b"\x7fELF"


def predict(folder: Path, *arguments: str) -> Measured:
    """Of the file `kernel`, with a cache of its own."""
    command = [sys.executable, "-m", "pvspec", "predict", *(arguments or ("kernel",)), "--cpu", "EPYC", "-o", "text"]
    return measured(command, SECONDS, ADDRESSES, cwd=folder, env={"PVSPEC_CACHE": str(folder / "cache")})


def long_name(kind: bytes) -> bytes:
    return zstandard.compress(entry("", 499 << 20, kind) + b"a" * (499 << 20))


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a member of 2^70 bytes": (
        lambda: package(with_size(b"\x80" + (1 << 70).to_bytes(11, "big"), entry("x"))),
        "its tar archive is truncated: a file of 1180591620717411303424 bytes",
    ),
    "the same, compressed": (
        lambda: package(gzip.compress(with_size(b"\x80" + (1 << 70).to_bytes(11, "big"), entry("x")))),
        "its tar archive is truncated: a file of 1180591620717411303424 bytes",
    ),
    "a name of 499 MiB": (lambda: package(long_name(b"L")), "has a name or an extended header of 523239424 bytes"),
    "an extended header of 499 MiB": (lambda: package(long_name(b"x")), "an extended header of 523239424 bytes"),
    "a million empty files": (
        lambda: package(zstandard.compress(entry("x") * 1_000_000)),
        "would take more time than any kernel's",
    ),
    "millions of records": (
        lambda: package(zstandard.compress((entry("", 32768, b"x") + b"4 =\n" * 8192) * 2000)),
        "reading the names of a package's files would take more time than any kernel's",
    ),
    "a gigabyte before the kernel": (
        lambda: package(bz2.compress(entry("x", 1 << 29) + bytes(1 << 29))),
        "unpacking bzip2 data would take more time than any kernel's",
    ),
    "a kernel of 193 MiB": (
        lambda: package(zstandard.compress(entry(size=193 << 20) + bytes(193 << 20))),
        "'boot/vmlinuz-6.1' in its tar archive is sparse, or has more than 192 MiB",
    ),
    "sixteen bombs in an old bzImage": (
        lambda: bzimage(bz2.compress(ELF + bytes(500 << 20)) * 16, version=0x203),
        "unpacking bzip2 data would take more time than any kernel's",
    ),
    "streams without contents": (
        lambda: bz2.compress(b"") * 2_000_000,
        "unpacking bzip2 data would take more time than any kernel's",
    ),
    "blocks without contents": (
        lambda: b"\x02\x21\x4c\x18" + b"\1\0\0\0\0" * 6_000_000,
        "unpacking lz4 data would take more time than any kernel's",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(tmp_path: Path, bomb: str) -> None:
    make, message = BOMBS[bomb]
    (tmp_path / "kernel").write_bytes(make())
    cost = predict(tmp_path)
    assert (cost.code, cost.out) == (1, ""), cost.err
    assert cost.err.startswith("error: kernel: ")
    assert message in cost.err
    assert cost.memory < MEMORY // 2


@pytest.mark.parametrize("codec", [codec for codec in PACKERS if codec != "bzip2"])  # which takes too much work
def test_as_much_as_is_let_in(tmp_path: Path, codec: str) -> None:
    """A kernel of 192 MiB in a package of that size: both are there at once."""
    packed = PACKERS[codec](ELF + bytes((192 << 20) - 4)) + (b"" if codec == "gzip" else b"size")
    image = bzimage(packed)
    image += bytes((192 << 20) - len(image))
    (tmp_path / "kernel").write_bytes(package(zstandard.compress(entry(size=len(image)) + image)))
    cost = predict(tmp_path)
    assert (cost.code, cost.out) == (1, ""), cost.err
    assert "damaged ELF file" in cost.err
    assert cost.memory < MEMORY * 5 // 8
    assert not (tmp_path / "text").exists()


@pytest.mark.parametrize(
    "place", ["/dev/zero", "/dev/stdin", "/proc/kcore", "/proc/self/mem", "/proc/self/environ", "."]
)
def test_what_is_no_file(tmp_path: Path, place: str) -> None:
    """As a kernel, and as the memory of one: an error at once."""
    cost = predict(tmp_path, place)
    assert (cost.code, cost.out) == (1, "")
    assert cost.err.startswith(f"error: {place}: ")
    assert cost.memory < MEMORY // 4
