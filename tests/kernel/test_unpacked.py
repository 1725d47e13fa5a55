"""Unpacked kernels in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pvspec.kernel import ImageError
from pvspec.kernel.files import unpacked as cache_of_kernels
from pvspec.kernel.files.unpacked import unpacked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PVSPEC_CACHE", str(tmp_path))
    monkeypatch.setattr(cache_of_kernels, "_WORTH_IT", 1)
    return tmp_path


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
    monkeypatch.setattr(cache_of_kernels, "_MOST", 2)
    for second, payload in enumerate([b"one", b"two", b"three"]):
        before = set(cache.iterdir())
        unpacked(payload, lambda: b"contents")
        for place in set(cache.iterdir()) - before:
            os.utime(place, (second, second))
    assert len(list(cache.iterdir())) == 2
    unpacked(b"three", never)
    with pytest.raises(AssertionError):
        unpacked(b"one", never)


@pytest.mark.parametrize("payload", [b"", b"short"])
def test_small_ones_are_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch, payload: bytes) -> None:
    monkeypatch.setattr(cache_of_kernels, "_WORTH_IT", 6)
    assert unpacked(payload, lambda: b"contents") == b"contents"
    assert list(cache.iterdir()) == []


def test_an_empty_file_is_no_kernel(cache: Path) -> None:
    unpacked(b"one", lambda: b"contents")
    (place,) = cache.iterdir()
    place.write_bytes(b"")
    assert unpacked(b"one", lambda: b"contents") == b"contents"
