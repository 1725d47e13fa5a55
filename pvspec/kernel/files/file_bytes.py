"""The bytes of a file on disk, read when they are asked for.

They are never mapped: if somebody truncates a file that is mapped, whoever touches its lost pages is killed (SIGBUS).
"""

from __future__ import annotations

import io
import os
import stat
from typing import NamedTuple

from pvspec.kernel.errors import ImageError

MAX_PART = 256 << 20
"""Bytes of a file that are read at once: a section of a kernel or its relocations. More is an error. The file itself
may be of any size."""

_PIECE = 1 << 20
_FLAGS = os.O_NONBLOCK | os.O_NOCTTY


class _Version(NamedTuple):
    """What changes if a file is written to."""

    size: int
    modified: int


class FileBytes:
    """A regular file, which can be sliced like bytes; every slice is read anew.

    If the file has been written to since it was opened, slicing raises ImageError. A file that replaces it at its path
    is another file. Copies share the open file; a pickle holds the contents.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises ImageError unless there is a regular file at `path` that can be read."""
        try:
            self._file = open(path, "rb", buffering=0, opener=open_nonblocking)  # noqa: SIM115  # as long as its bytes are used
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise ImageError("is not a regular file")
            self._version = _version(self._file)
        except OSError as error:
            raise unreadable(error) from error
        except ValueError:
            raise ImageError("is not a path") from None

    def __len__(self) -> int:
        return self._version.size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a slice without a step; raises ImageError if they are more than MAX_PART or cannot be read."""
        start, stop, _ = part.indices(len(self))
        size = max(stop - start, 0)
        if size > MAX_PART:
            raise ImageError(
                f"{size >> 20} MiB at {start:#x} of the file are too many at once: more than {MAX_PART >> 20}"
            )
        try:
            data = os.pread(self._file.fileno(), size, start)
            while len(data) < size and (more := os.pread(self._file.fileno(), size - len(data), start + len(data))):
                data += more
            changed = len(data) < size or _version(self._file) != self._version
        except OSError as error:
            raise unreadable(error) from error
        if changed:
            raise ImageError("was changed while it was read: give a file that nobody writes to")
        return data

    def __bytes__(self) -> bytes:
        """All of it."""
        whole = io.BytesIO()
        for start in range(0, len(self), _PIECE):
            whole.write(self[start : start + _PIECE])
        return whole.getvalue()

    def __copy__(self) -> FileBytes:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> FileBytes:
        return self

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(self),)


def open_nonblocking(path: str, flags: int) -> int:
    """Opening a FIFO must not wait for its writer."""
    return os.open(path, flags | _FLAGS)


def _version(file: io.FileIO) -> _Version:
    found = os.fstat(file.fileno())
    return _Version(found.st_size, found.st_mtime_ns)


def unreadable(error: Exception) -> ImageError:
    """The message for a source that raised an error."""
    if isinstance(error, OSError):
        return ImageError(f"cannot be read: {error.strerror or error}")
    return ImageError(f"cannot be read: {type(error).__name__}: {error}")
