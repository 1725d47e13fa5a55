"""Writing results: atomically, to regular files, and never through a link."""

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
    """A file beside `path` that replaces it when the block ends without an exception.

    It keeps the permissions and group of a file of ours that it replaces, but not set-uid bits; otherwise it gets those
    of a new file, less what another user's file denies. OSError if `path` is a symbolic link or not a regular file, is
    another user's file in a folder that everybody may write to, or cannot be written; it is then unchanged.
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
            with suppress(OSError):  # interrupted before it was created, or after the rename
                os.unlink(temporary, dir_fd=folder)
            raise


def write_file(path: Path, data: bytes) -> bool:
    """Write a file by `replacing` it, unless it already holds these bytes; returns whether it was written. OSError."""
    if _holds(path, data):
        return False
    with replacing(path) as file:
        file.write(data)
    return True


def _replaceable(folder: int, path: Path) -> os.stat_result | None:
    """The file to be replaced, None if there is none; OSError if it must not be replaced."""
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
            except OSError:  # the new group does not get the permissions of the old one
                mode = mode & 0o707 | (mode & 0o007) << 3 & mode
    elif old is not None:
        mode &= old.st_mode
    os.chmod(file, mode)


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file that could be replaced already holds these bytes."""
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
