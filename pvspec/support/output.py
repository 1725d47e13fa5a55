"""Writing results: whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` which takes its place, with its mode, when the block ends without an exception.

    Where `path` is a link, what it leads to is replaced. OSError: what lies there is no regular file, or the file
    cannot be written; `path` is as it was then.
    """
    target = Path(os.path.realpath(path))
    if os.path.lexists(target) and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):  # it was stopped behind the rename
            os.unlink(temporary)
        raise


def write_file(path: Path, data: bytes) -> bool:
    """Write a file by `replacing` it, unless it holds these bytes already; whether it was written. OSError."""
    if path.is_file() and path.read_bytes() == data:
        return False
    with replacing(path) as file:
        file.write(data)
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
