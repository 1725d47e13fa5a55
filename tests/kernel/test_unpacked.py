"""Unpacked kernels in the user's cache."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.kernel import ImageError
from pvspec.kernel.files import unpacked as cache_of_kernels
from pvspec.kernel.files.layout import Buffer
from pvspec.kernel.files.unpacked import unpacked as looked_up


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVSPEC_CACHE", str(tmp_path))
    monkeypatch.setattr(cache_of_kernels, "_WORTH_IT", 1)
    return tmp_path


def entries(cache: Path) -> list[Path]:
    return list(cache.glob("vmlinux-*"))


def unpacked(payload: bytes, unpack: Callable[[], bytes]) -> Buffer:
    return looked_up(io.BytesIO(payload), len(payload), unpack, lambda size: None)


def never() -> bytes:
    raise AssertionError


def fails() -> bytes:
    raise ImageError("damaged")


def test_the_second_time_nothing_is_unpacked(cache: Path) -> None:
    assert unpacked(b"one", lambda: b"contents") == b"contents"
    assert unpacked(b"one", never)[:] == b"contents"


def test_another_payload_is_another_kernel(cache: Path) -> None:
    unpacked(b"one", lambda: b"contents")
    assert unpacked(b"two", lambda: b"others") == b"others"
    assert unpacked(b"one", never)[:] == b"contents"


def test_what_is_damaged_is_not_kept(cache: Path) -> None:
    with pytest.raises(ImageError, match="damaged"):
        unpacked(b"one", fails)
    assert list(cache.iterdir()) == []


def test_the_oldest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_of_kernels, "_MAX_KERNELS", 2)
    for second, payload in enumerate([b"one", b"two", b"three"]):
        before = set(entries(cache))
        unpacked(payload, lambda: b"contents")
        for place in set(entries(cache)) - before:
            os.utime(place, (second, second))
    assert len(entries(cache)) == 2
    unpacked(b"three", never)
    with pytest.raises(AssertionError):
        unpacked(b"one", never)


@pytest.mark.parametrize("payload", [b"", b"short"])
def test_small_ones_are_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    monkeypatch.setattr(cache_of_kernels, "_WORTH_IT", 6)
    assert unpacked(payload, lambda: b"contents") == b"contents"
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("byte", range(len(b"contents") + 32))
def test_a_changed_byte_is_another_kernel(cache: Path, byte: int) -> None:
    """What is in the file must be what was unpacked: a wrong byte would be a wrong text with exit status 0."""
    unpacked(b"one", lambda: b"contents")
    (place,) = entries(cache)
    data = bytearray(place.read_bytes())
    data[byte] ^= 0x10
    place.write_bytes(data)
    assert unpacked(b"one", lambda: b"unpacked again") == b"unpacked again"
    assert unpacked(b"one", never)[:] == b"unpacked again"


@pytest.mark.parametrize("size", [0, 1, 32, 33, 39])
def test_a_file_that_is_cut_short_is_no_kernel(cache: Path, size: int) -> None:
    unpacked(b"one", lambda: b"contents")
    (place,) = entries(cache)
    place.write_bytes(place.read_bytes()[:size])
    assert unpacked(b"one", lambda: b"contents") == b"contents"


def test_a_known_one_is_counted(cache: Path) -> None:
    """So that what was refused, or would be, is not let in because it was seen before."""
    counted: list[int] = []
    for expected in ([], [8]):
        looked_up(io.BytesIO(b"one"), 3, lambda: b"contents", counted.append)
        assert counted == expected


def test_the_key_is_a_whole_digest(cache: Path) -> None:
    """Half of one would let its author make two payloads of which one stands for the other."""
    unpacked(b"one", lambda: b"contents")
    assert [place.name for place in entries(cache)] == [f"vmlinux-{hashlib.sha256(b'one').hexdigest()}"]
