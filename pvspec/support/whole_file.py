"""Files that appear whole, or not at all.

Where the file system can (O_TMPFILE), a file has no name until it is complete: whatever ends the process before, even
SIGKILL, leaves nothing behind. Where a file already has the name, it gets a name beside it for a moment,
between linkat(2) and rename(2), since no call replaces a file by one without a name. What a process that is killed
just then leaves is complete, is locked by nobody, and is removed by the next one that writes a file of that name.
Elsewhere the file has a name beside it from the beginning; if it is left, it is removed in the same way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_UNNAMED = getattr(os, "O_TMPFILE", None)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KEPT = 32  # characters of a name: with what is added it must not become too long
_CANNOT = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
"""What file systems, and kernels before 3.11, say to O_TMPFILE if they do not know it."""


@contextmanager
def whole_file(folder: int, name: str, mode: int) -> Iterator[BinaryIO]:
    """A new file that gets the name in an open folder when the block ends without an exception.

    Whatever had the name is replaced, even a link. `mode`, less the umask, are the file's permissions, until the block
    sets others. Raises OSError; then, and after any other exception, the name means what it did before.
    """
    unnamed = _unnamed(folder, mode)
    if unnamed is None:
        with _named(folder, name) as (file, own):
            yield file
            _finish(file)
            os.replace(own, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    with os.fdopen(unnamed, "wb") as file:
        yield file
        _finish(file)
        _remove_abandoned(folder, name)
        try:
            _link(unnamed, folder, name)
        except FileExistsError:
            _take_over(unnamed, folder, name)


def _unnamed(folder: int, mode: int) -> int | None:
    """A file without a name, locked; None where there can be none, or where it could not be given a name later."""
    if _UNNAMED is None:
        return None
    try:
        file = os.open(".", os.O_WRONLY | _UNNAMED | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return None
    if _lock(file) and os.path.exists(_by_number(file)):
        return file
    os.close(file)
    return None


def _link(file: int, folder: int, name: str) -> None:
    os.link(_by_number(file), name, dst_dir_fd=folder, follow_symlinks=True)


def _by_number(file: int) -> str:
    return f"/proc/self/fd/{file}"


def _take_over(file: int, folder: int, name: str) -> None:
    """Give a file without a name the name of another file."""
    own = _usual_name(name)
    try:
        try:
            _link(file, folder, own)
        except FileExistsError:
            own = _random_name(name)
            _link(file, folder, own)
        os.replace(own, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            if _is_named(file, folder, own):
                os.unlink(own, dir_fd=folder)
        raise


@contextmanager
def _named(folder: int, name: str) -> Iterator[tuple[BinaryIO, str]]:
    """A new file with a name beside `name`, which the block has to rename; if it fails, the file is gone again."""
    _remove_abandoned(folder, name)
    spare = _random_name(name)
    try:
        file, own = _created(folder, _usual_name(name), spare)
        with os.fdopen(file, "wb") as stream:
            yield stream, own
    except BaseException:  # perhaps before it was created, or after the rename
        _remove_abandoned(folder, name)
        with suppress(OSError):
            os.unlink(spare, dir_fd=folder)
        raise


def _created(folder: int, usual: str, spare: str) -> tuple[int, str]:
    """A new file of one of two names, and which: the usual one, locked, or the other, which nobody else removes.

    Where there are no locks nobody removes a file of the usual name either.
    """
    try:
        file = os.open(usual, _CREATE, 0o600, dir_fd=folder)
    except FileExistsError:
        return os.open(spare, _CREATE, 0o600, dir_fd=folder), spare
    with suppress(BlockingIOError, FileNotFoundError):  # before it was locked, another run took it for abandoned
        if not _lock(file) or _is_named(file, folder, usual):
            return file, usual
    os.close(file)
    return os.open(spare, _CREATE, 0o600, dir_fd=folder), spare


def _finish(file: BinaryIO) -> None:
    """Have all of it written, and hear of what went wrong: some file systems (NFS) say that only at a close."""
    file.flush()
    os.close(os.dup(file.fileno()))


def _usual_name(name: str) -> str:
    """A name beside a name that is always the same, so that what a killed process left is found."""
    return f".{name[:_KEPT]}.pvspec-new"


def _random_name(name: str) -> str:
    return f".{name[:_KEPT]}.{os.urandom(8).hex()}"


def _remove_abandoned(folder: int, name: str) -> None:
    """Remove what a killed process left beside a name: a file of ours that is not locked, as all are until renamed."""
    own = _usual_name(name)
    with suppress(OSError):
        file = os.open(own, _READ, dir_fd=folder)
        try:
            found = os.fstat(file)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if ours and _lock(file) and _is_named(file, folder, own):
                os.unlink(own, dir_fd=folder)
        finally:
            os.close(file)


def _is_named(file: int, folder: int, name: str) -> bool:
    return os.path.samestat(os.fstat(file), os.stat(name, dir_fd=folder, follow_symlinks=False))


def _lock(file: int) -> bool:
    """Lock a file; False if the file system has no locks, BlockingIOError if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
