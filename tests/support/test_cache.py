"""The cache: an entry is what was put, or it is no entry; nothing outside the folder is read or written."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.support import cache as module
from pvspec.support.cache import Cache

other_user = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
NOBODY = 65534
DATA = b"what was worked out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> Cache:
    cache = Cache(folder)
    cache.put("kind", "key", DATA, 4)
    assert both(cache) == (DATA, DATA)
    return cache


def both(cache: Cache, kind: str = "kind", key: str = "key") -> tuple[bytes | None, bytes | None]:
    """An entry as read and as mapped."""
    mapped = cache.mapped(kind, key)
    return cache.get(kind, key), None if mapped is None else mapped[:]


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"key"}


def test_an_entry_is_what_was_put(cache: Cache) -> None:
    for size in (1, 31, 32, 33, 4096, 70_000):
        data = random.Random(size).randbytes(size)
        cache.put("kind", str(size), data, 9)
        assert both(cache, key=str(size)) == (data, data)


def test_another_key_or_kind_is_another_entry(cache: Cache) -> None:
    assert both(cache, key="other") == both(cache, kind="other") == (None, None)
    cache.put("kind", "key", b"anew", 4)
    assert both(cache) == (b"anew", b"anew")


def test_all_of_it_is_for_us_alone(folder: Path, cache: Cache) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_folders_are_made(tmp_path: Path) -> None:
    Cache(tmp_path / "a" / "b" / "c").put("kind", "key", DATA, 4)
    assert Cache(tmp_path / "a" / "b" / "c").get("kind", "key") == DATA
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Cache(Path("here")).put("kind", "key", DATA, 4)
    assert Cache(tmp_path / "here").get("kind", "key") == DATA


@pytest.mark.parametrize("where", [None, "file", "file/below", "/dev/null/below", "/proc/self/nowhere", "n" * 300])
def test_without_a_folder_there_are_no_entries(where: str | None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(None if where is None else tmp_path / where)
    cache.put("kind", "key", DATA, 4)
    assert both(cache) == (None, None)


# ---- what is not what was put


def test_every_bit_counts(folder: Path, cache: Cache) -> None:
    whole = (folder / "kind-key").read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (folder / "kind-key").write_bytes(damaged)
        assert (cache.get if bit % 2 else cache.mapped)("kind", "key") is None
        assert entries(folder) == set(), "it is thrown away"


def test_every_byte_counts(folder: Path, cache: Cache) -> None:
    whole = (folder / "kind-key").read_bytes()
    for data in [*(whole[:size] for size in range(len(whole))), whole + b"\0", whole[1:], whole * 2, bytes(len(whole))]:
        for read in (cache.get, cache.mapped):
            (folder / "kind-key").write_bytes(data)
            assert read("kind", "key") is None
            assert entries(folder) == set()


@pytest.mark.parametrize("name", ["kind-other", "other-key", "kin-dkey"])
def test_an_entry_in_another_ones_place(folder: Path, cache: Cache, name: str) -> None:
    """A statement's bytes are authentic, but those of that statement."""
    (folder / "kind-key").rename(folder / name)
    kind, _, key = name.partition("-")
    assert cache.get(kind, key) is None


@pytest.mark.parametrize("key", [None, b"", b"short", bytes(31), bytes(32), bytes(33)])
def test_entries_under_another_key(folder: Path, cache: Cache, key: bytes | None) -> None:
    (folder / "key").unlink()
    if key is not None:
        (folder / "key").write_bytes(key)
        (folder / "key").chmod(0o600)
    assert cache.get("kind", "key") is None
    cache.put("kind", "key", DATA, 4)
    assert both(cache) == (DATA, DATA)
    assert len((folder / "key").read_bytes()) == 32


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o601])
def test_a_key_that_others_can_read_is_made_anew(folder: Path, cache: Cache, mode: int) -> None:
    old = (folder / "key").read_bytes()
    (folder / "key").chmod(mode)
    assert cache.get("kind", "key") is None
    cache.put("kind", "key", DATA, 4)
    assert (folder / "key").read_bytes() != old
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert both(cache) == (DATA, DATA)


def as_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def as_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("../outside")


def as_socket(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o600)


@pytest.mark.parametrize("make", [as_link, as_fifo, as_device, as_dangling_link, as_socket])
@pytest.mark.parametrize("name", ["kind-key", "key"])
def test_what_is_no_regular_file(folder: Path, cache: Cache, make: Callable[[Path], None], name: str) -> None:
    """It is not followed, nor waited for, nor written through."""
    make(folder / name)
    assert both(cache) == (None, None)
    cache.put("kind", "key", DATA, 4)
    assert both(cache) == (DATA, DATA)
    assert (folder / name).is_file()
    assert not (folder / name).is_symlink()
    assert not (folder.parent / "outside").exists()


def test_a_folder_in_an_entrys_place(folder: Path, cache: Cache) -> None:
    (folder / "kind-key").unlink()
    (folder / "kind-key").mkdir()
    assert both(cache) == (None, None)
    cache.put("kind", "key", DATA, 4)
    assert both(cache) == (None, None)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_an_entry_that_others_can_write(folder: Path, cache: Cache, mode: int) -> None:
    (folder / "kind-key").chmod(mode)
    assert cache.get("kind", "key") is None
    assert entries(folder) == set()


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write(folder: Path, cache: Cache, mode: int) -> None:
    folder.chmod(mode)
    assert both(cache) == (None, None)
    cache.put("kind", "more", DATA, 4)
    assert entries(folder) == {"kind-key"}, "nothing is written there, and nothing removed"
    folder.chmod(0o755)
    assert both(cache) == (DATA, DATA), "that others can read it does no harm"


@other_user
@pytest.mark.parametrize("name", ["kind-key", "key"])
def test_another_users_file(folder: Path, cache: Cache, name: str) -> None:
    os.chown(folder / name, NOBODY, -1)
    assert cache.get("kind", "key") is None
    cache.put("kind", "key", DATA, 4)
    assert both(cache) == (DATA, DATA)


@other_user
def test_another_users_folder(folder: Path, cache: Cache) -> None:
    os.chown(folder, NOBODY, -1)
    assert both(cache) == (None, None)
    cache.put("kind", "more", DATA, 4)
    assert entries(folder) == {"kind-key"}


def test_a_link_of_ours_leads_to_the_folder(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "link").symlink_to("cache")
    (tmp_path / "round").symlink_to(f"{tmp_path}/./link")
    assert Cache(tmp_path / "link").get("kind", "key") == DATA
    assert Cache(tmp_path / "round").get("kind", "key") == DATA


def test_links_that_lead_round_and_round(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    Cache(tmp_path / "one").put("kind", "key", DATA, 4)
    assert Cache(tmp_path / "one").get("kind", "key") is None


@other_user
@pytest.mark.parametrize("path", ["link", "link/below", "indirect"])
def test_another_users_link_is_not_followed(tmp_path: Path, cache: Cache, path: str) -> None:
    (tmp_path / "link").symlink_to("cache")
    (tmp_path / "indirect").symlink_to("link")
    os.chown(tmp_path / "link", NOBODY, -1, follow_symlinks=False)
    attacked = Cache(tmp_path / path)
    assert attacked.get("kind", "key") is None
    attacked.put("kind", "more", DATA, 4)
    assert entries(tmp_path / "cache") == {"kind-key"}


# ---- bounds


def test_an_entry_that_is_too_large_is_not_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_READ", len(DATA) - 1)
    assert cache.get("kind", "key") is None
    assert cache.mapped("kind", "key") is None, "it is thrown away"
    cache.put("kind", "key", DATA, 4)
    assert cache.mapped("kind", "key") is not None
    monkeypatch.setattr(module, "MAX_MAPPED", len(DATA) - 1)
    assert cache.mapped("kind", "key") is None


def test_a_file_with_a_hole_of_terabytes(folder: Path, cache: Cache) -> None:
    for read in (cache.get, cache.mapped):
        os.truncate(folder / "kind-key", 1 << 40)
        assert read("kind", "key") is None
        cache.put("kind", "key", DATA, 4)


def test_the_oldest_of_a_kind_go(folder: Path, cache: Cache) -> None:
    cache.put("kin", "d", DATA, 1)
    os.utime(folder / "kind-key", (0, 0))
    for age, key in enumerate("abcdef"):
        cache.put("kind", key, DATA, 3)
        os.utime(folder / f"kind-{key}", (1e9 + age, 1e9 + age))
    cache.put("kind", "g", DATA, 3)
    assert entries(folder) == {"kind-e", "kind-f", "kind-g", "kin-d"}


def test_what_killed_runs_left_goes(folder: Path, cache: Cache) -> None:
    for name, age in [(".kind-key.0123", 7200), (".kind-key.4567", 60), (".other-key.0123", 7200)]:
        (folder / name).touch()
        os.utime(folder / name, (os.stat(folder).st_mtime - age,) * 2)
    cache.put("kind", "key", DATA, 4)
    assert entries(folder) == {"kind-key", ".kind-key.4567", ".other-key.0123"}


@pytest.mark.parametrize("call", ["fdopen", "link", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(
    folder: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        try:
            cache.put("kind", "key" if call == "replace" else "more", b"anew", 4)
        except KeyboardInterrupt:
            assert isinstance(error, KeyboardInterrupt)
    assert entries(folder) == {"kind-key"}
    assert both(cache) == (DATA, DATA)


def test_no_descriptor_is_left_open(folder: Path, cache: Cache) -> None:
    before = os.listdir("/proc/self/fd")
    for damage in (b"", b"x" * 99):
        cache.get("kind", "none")
        (folder / "kind-key").write_bytes(damage)
        both(cache)
        cache.put("kind", "key", DATA, 1)
        both(cache)
    assert os.listdir("/proc/self/fd") == before
