"""Writing results: atomically, to regular files, and never through a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pvspec.support.folders import open_folder
from pvspec.support.whole_file import whole_file

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC
_ACL = "system.posix_acl_access"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends without an exception.

    It keeps the permissions, access control list and group of a file of ours that it replaces, but not set-uid bits;
    otherwise it gets those of a new file, less what another user's file denies. OSError if `path` is a symbolic link or
    not a regular file, is another user's file, or has hard links, in a folder that everybody may write to, or cannot
    be written; it is then unchanged.
    """
    with open_folder(path.parent) as folder:
        old = _replaceable(folder, path)
        try:
            with whole_file(folder, path.name, _mode(old)) as file:
                yield file
                _set_permissions(file.fileno(), old)
        except OSError:
            if os.fstat(folder).st_nlink == 0:
                raise OSError(errno.ENOENT, "its folder has been deleted") from None
            raise


def write_file(path: Path, data: bytes) -> bool:
    """Write a file by `replacing` it, unless it already holds these bytes; returns whether it was written. OSError."""
    if _holds(path, data):
        return False
    with replacing(path) as file:
        file.write(data)
    return True


class _Old(NamedTuple):
    """A file to be replaced: what it is, and its access control list, None if it has none but its mode."""

    found: os.stat_result
    acl: bytes | None

    @property
    def ours(self) -> bool:
        return self.found.st_uid == os.geteuid()


def _replaceable(folder: int, path: Path) -> _Old | None:
    """The file to be replaced, None if there is none; OSError if it must not be replaced."""
    try:
        file = os.open(path.name or ".", _LOOK, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(file)
        if stat.S_ISLNK(found.st_mode):
            leads_to_file = not path.exists() or path.is_file()
            raise OSError(errno.EINVAL, "it is a symbolic link; name the file itself" if leads_to_file else _NO_FILE)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, _NO_FILE)
        old = _Old(found, _acl(f"/proc/self/fd/{file}"))
    finally:
        os.close(file)
    if os.fstat(folder).st_mode & stat.S_IWOTH:
        if not old.ours:
            raise OSError(errno.EPERM, f"it is another user's file {_FOR_ALL}")
        if found.st_nlink > 1:  # anybody may have given it this name, and its permissions are not for this place
            raise OSError(errno.EPERM, f"it has other names as well (hard links), {_FOR_ALL}")
    return old


_NO_FILE = "it is not a regular file"
_FOR_ALL = "in a folder that everybody may write to"


def _mode(old: _Old | None) -> int:
    """Permissions for a new file, before the umask."""
    if old is None:
        return 0o666
    mode = old.found.st_mode & (0o777 if old.ours else 0o666)
    same_group = old.acl is None and old.found.st_gid == os.getegid()
    return mode if same_group else _for_another_group(mode)


def _for_another_group(mode: int) -> int:
    """A mode that gives the group no more than all others have."""
    return mode & 0o707 | (mode & 0o007) << 3 & mode


def _set_permissions(file: int, old: _Old | None) -> None:
    """Give a file the permissions of a file of ours, with its group and its access control list."""
    if old is None or not old.ours:
        return
    mode = old.found.st_mode & 0o777
    if os.fstat(file).st_gid != old.found.st_gid:
        try:
            os.chown(file, -1, old.found.st_gid)
        except OSError:  # the new group does not get the permissions of the old one
            mode = _for_another_group(mode)
    if _acl(file) != old.acl:
        try:
            os.removexattr(file, _ACL) if old.acl is None else os.setxattr(file, _ACL, old.acl)
        except OSError:  # the group's permissions were the most that anybody on the list had
            mode = _for_another_group(mode)
    now = os.fstat(file).st_mode & 0o777
    if now != mode:
        try:
            os.chmod(file, mode)
        except PermissionError:  # as under --confined; that it is less is no harm
            if now & ~mode:
                raise


def _acl(file: int | str) -> bytes | None:
    try:
        return os.getxattr(file, _ACL)
    except (OSError, AttributeError):  # systems other than Linux have no such call
        return None


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file that could be replaced already holds these bytes."""
    with suppress(OSError), open_folder(path.parent) as folder:
        old = _replaceable(folder, path)
        if old is not None and old.found.st_size == len(data):
            with os.fdopen(os.open(path.name, _READ, dir_fd=folder), "rb") as file:
                return file.read(len(data) + 1) == data
    return False
