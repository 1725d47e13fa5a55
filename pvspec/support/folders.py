"""Opening folders so that no other user can replace them, or redirect them with a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
"""Symbolic links on the way to a folder, as in Linux; a way with more of them is refused."""


@contextmanager
def open_folder(path: Path, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder, for use as `dir_fd`; with `make`, missing folders are created, accessible to us alone.

    Symbolic links on the way are followed if they are root's or ours; others' could lead anywhere. Nothing is created
    in another user's folder, unless that is root: so root leaves nothing in the home of the user who called sudo.
    Raises OSError.
    """
    folder = os.open("/" if path.is_absolute() else ".", _ENTER)
    try:
        left, links = [part for part in path.parts if part != "/"][::-1], 0
        while left:
            name = left.pop()
            target = _link(folder, name)
            if target is None:
                folder = _stepped(folder, _entered(folder, name, make))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                folder = _stepped(folder, os.open("/", _ENTER))
            left += [part for part in target.split("/") if part not in ("", ".")][::-1]
        yield folder
    finally:
        os.close(folder)


def _stepped(folder: int, below: int) -> int:
    os.close(folder)
    return below


def _entered(folder: int, name: str, make: bool) -> int:
    try:
        return os.open(name, _ENTER, dir_fd=folder)
    except FileNotFoundError:
        if not make or os.fstat(folder).st_uid not in (0, os.geteuid()):
            raise
    with suppress(FileExistsError):  # another run has just created it
        os.mkdir(name, 0o700, dir_fd=folder)
    return os.open(name, _ENTER, dir_fd=folder)


def _link(folder: int, name: str) -> str | None:
    """The target of a symbolic link; None for anything else. OSError if it belongs to another user."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(found.st_mode):
        return None
    if found.st_uid not in (0, os.geteuid()):
        raise OSError(errno.ELOOP, f"`{name}` on the way to it is another user's symbolic link")
    target = os.readlink(name, dir_fd=folder)
    if not os.path.samestat(found, os.stat(name, dir_fd=folder, follow_symlinks=False)):
        raise OSError(errno.ELOOP, f"`{name}` on the way to it was replaced while it was read")
    return target
