"""Results that are kept for later runs: data in the user's cache folder, never code.

An entry is a file KIND-KEY: its contents, then 32 bytes that authenticate them and the entry's name. An entry is used
only if the folder belongs to the user and others cannot write to it; the file is regular, belongs to the user, and
others cannot write to it; and its last 32 bytes are an HMAC-SHA256 under a random key that only the user can read. So
an entry that has flipped bits, is truncated, was renamed or was written by somebody else counts as missing, and is
silently removed. Without such a folder everything works, only slower.

SHA-256 is used because processors have instructions for it: checking an unpacked kernel of 51 MiB takes 30 ms (blake2b
takes 57 ms; a checksum such as CRC-32 would take 13 ms, but does not authenticate).
"""

from __future__ import annotations

import hmac
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pvspec.support.folders import open_folder
from pvspec.support.paths import cache_folder
from pvspec.support.whole_file import whole_file

MAX_READ = 16 << 20
"""Bytes of an entry of the cache that are read; a larger one is thrown away, and what it holds is worked out anew."""

MAX_MAPPED = 192 << 20
"""Bytes of an unpacked kernel in the cache; a larger entry is thrown away. No kernel unpacks to more."""

MAX_LISTED = 10_000
"""Files of the cache that are looked at to find the oldest; of a folder that has more, some of them."""

_DIGEST = 32  # bytes
_KEY = "key"  # the file with the random key
_KEY_SIZE = 32  # bytes
_OTHERS_WRITE = 0o022
_OTHERS = 0o077
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO in an entry's place must not block
_ABANDONED = 3600  # seconds after which a temporary file must be from a run that was killed

_Contents = TypeVar("_Contents", bytes, mmap.mmap)


class Cache:
    """Entries in a folder, by kind and key: parts of a file name, the kind without `-`. No entry is empty.

    No method raises OSError.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, kind: str, key: str) -> bytes | None:
        """The contents of an entry, at most MAX_READ bytes; None if there is no authentic one."""
        return self._authentic(kind, key, MAX_READ, os.pread)

    def mapped(self, kind: str, key: str) -> mmap.mmap | None:
        """Like `get`, for at most MAX_MAPPED bytes, which are mapped read-only instead of copied."""
        return self._authentic(kind, key, MAX_MAPPED, _map)

    def put(self, kind: str, key: str, data: bytes, most: int) -> None:
        """Write an entry atomically, and remove the oldest entries of its kind beyond `most`."""
        name = f"{kind}-{key}"
        with suppress(OSError), self._opened() as folder:
            secret = _key(folder) or _new_key(folder)
            _write(folder, name, data, _digest(secret, name, data))
            _remove_old(folder, kind, most)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The folder, created if missing; OSError if it cannot be, or if others can write to it."""
        if self._folder is None:
            raise FileNotFoundError
        with open_folder(self._folder, make=True) as place:
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
        try:
            if not _is_ours(os.fstat(folder), _OTHERS_WRITE):
                raise PermissionError
            yield folder
        finally:
            os.close(folder)

    def _authentic(
        self, kind: str, key: str, limit: int, take: Callable[[int, int, int], _Contents]
    ) -> _Contents | None:
        """What `take` returns for the file of an entry, if it is authentic; otherwise the file is removed."""
        name = f"{kind}-{key}"
        with suppress(OSError), self._opened() as folder:
            contents = _taken(folder, name, limit, take)
            if contents is None:
                os.unlink(name, dir_fd=folder)
            return contents
        return None


def user_cache() -> Cache:
    """The cache of the user who runs pvspec."""
    return Cache(cache_folder())


def _taken(folder: int, name: str, limit: int, take: Callable[[int, int, int], _Contents]) -> _Contents | None:
    with _opened_file(folder, name) as file:
        if file is None or not _is_file(os.fstat(file), _OTHERS_WRITE):
            return None
        size, key = os.fstat(file).st_size - _DIGEST, _key(folder)
        if key is None or not 0 < size <= limit:
            return None
        contents = take(file, size, 0)
        whole = hmac.compare_digest(_digest(key, name, contents), os.pread(file, _DIGEST, size))
        return contents if whole else None


@contextmanager
def _opened_file(folder: int, name: str) -> Iterator[int | None]:
    """A file's descriptor; None if it cannot be opened: it is missing, a link or a socket."""
    try:
        file = os.open(name, _READ, dir_fd=folder)
    except OSError:
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _map(file: int, size: int, offset: int) -> mmap.mmap:
    return mmap.mmap(file, size, access=mmap.ACCESS_READ, offset=offset)


def _is_ours(found: os.stat_result, forbidden: int) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & forbidden


def _is_file(found: os.stat_result, forbidden: int) -> bool:
    return stat.S_ISREG(found.st_mode) and _is_ours(found, forbidden)


def _digest(key: bytes, name: str, contents: bytes | mmap.mmap) -> bytes:
    """The name is part of the key: so a renamed entry fails, and large contents are not copied."""
    own = hmac.digest(key, name.encode(), "sha256")
    return hmac.digest(own, contents, "sha256")


def _key(folder: int) -> bytes | None:
    """The folder's key; None if it lacks one that only the user can read."""
    with _opened_file(folder, _KEY) as file:
        if file is None or not _is_file(os.fstat(file), _OTHERS):
            return None
        key = os.pread(file, _KEY_SIZE + 1, 0)
        return key if len(key) == _KEY_SIZE else None


def _new_key(folder: int) -> bytes:
    """Create the key of a folder. If two runs do so at once, only the entries of the first are lost."""
    key = os.urandom(_KEY_SIZE)
    _write(folder, _KEY, key)
    return key


def _write(folder: int, name: str, *parts: bytes) -> None:
    """Write a file whole; whatever had its name is replaced itself, even a link."""
    with whole_file(folder, name, 0o600) as file:
        file.writelines(parts)


def _remove_old(folder: int, kind: str, most: int) -> None:
    """Remove the oldest entries of a kind beyond `most`, and temporary files of runs that were killed."""
    ages: dict[str, float] = {}
    with os.scandir(folder) as files:
        for file in islice(files, MAX_LISTED):
            if file.name.startswith((f"{kind}-", f".{kind}-")):
                with suppress(FileNotFoundError):  # another run may have removed it
                    ages[file.name] = file.stat(follow_symlinks=False).st_mtime
    entries = sorted((name for name in ages if name[0] != "."), key=ages.__getitem__)
    abandoned = [name for name in ages if name[0] == "." and ages[name] < time.time() - _ABANDONED]
    for name in [*entries[: max(0, len(entries) - most)], *abandoned]:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
