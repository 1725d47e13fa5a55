"""Writing results: whole or not at all, to regular files, and to nothing that a link leads to."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pvspec.support.folders import open_folder

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` which takes its place when the block ends without an exception.

    It keeps the permissions and the group of a file of ours that it replaces, never its set-uid bits; it gets those of
    a new file otherwise, less what another user's file denies. OSError: `path` is a symbolic link or no regular file,
    it is another user's file in a folder that everybody may write to, or it cannot be written; it is as it was then.
    """
    with open_folder(path.parent) as folder:
        old = _replaceable(folder, path)
        temporary = f".{path.name[:32]}.{os.urandom(8).hex()}"
        try:
            with os.fdopen(os.open(temporary, _CREATE, 0o600, dir_fd=folder), "wb") as file:
                yield file
                _set_permissions(file.fileno(), old)
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):  # it was stopped before it was made, or after the rename
                os.unlink(temporary, dir_fd=folder)
            raise


def write_file(path: Path, data: bytes) -> bool:
    """Write a file by `replacing` it, unless it holds these bytes already; whether it was written. OSError."""
    if _holds(path, data):
        return False
    with replacing(path) as file:
        file.write(data)
    return True


def _replaceable(folder: int, path: Path) -> os.stat_result | None:
    """What is replaced, None if that is nothing; OSError if it must not be."""
    try:
        found = os.stat(path.name or ".", dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        leads_to_file = not path.exists() or path.is_file()
        raise OSError(errno.EINVAL, "it is a symbolic link; name the file itself" if leads_to_file else _NO_FILE)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, _NO_FILE)
    if found.st_uid != os.geteuid() and os.fstat(folder).st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, "it is another user's file in a folder that everybody may write to")
    return found


_NO_FILE = "it is not a regular file"


def _set_permissions(file: int, old: os.stat_result | None) -> None:
    mode = 0o666 & ~_umask()
    if old is not None and old.st_uid == os.geteuid():
        mode = old.st_mode & 0o777
        if os.fstat(file).st_gid != old.st_gid:
            try:
                os.chown(file, -1, old.st_gid)
            except OSError:  # what the old group could do, the new one cannot do for that
                mode = mode & 0o707 | (mode & 0o007) << 3 & mode
    elif old is not None:
        mode &= old.st_mode
    os.chmod(file, mode)


def _holds(path: Path, data: bytes) -> bool:
    """Whether this is what a file holds that could be replaced."""
    with suppress(OSError), open_folder(path.parent) as folder:
        found = _replaceable(folder, path)
        if found is not None and found.st_size == len(data):
            with os.fdopen(os.open(path.name, _READ, dir_fd=folder), "rb") as file:
                return file.read(len(data) + 1) == data
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
