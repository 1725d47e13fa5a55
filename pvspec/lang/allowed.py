"""Which files a spec may read: those of its own folder, the shipped specs, and of the folders that its user names.

A spec may come from somebody who wants to see what its reader can see. So nothing outside of these folders is opened,
nor looked for: whether it exists is not told. Links are followed here, step by step, not by the system; and what is
read is the descriptor that was reached this way, so that no link that appears meanwhile leads elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pvspec.engine.value import Value
from pvspec.support.folders import open_folder
from pvspec.support.paths import resource

SUFFIX = ".pvs"
_MAX_LINKS = 40
"""Symbolic links on the way to an included file; with more it is not read (PV001)."""
_ENTER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Outside(Exception):
    """A file is in none of the folders."""


class Allowed(Value):
    """The folders, as they are without links."""

    folders: tuple[str, ...]

    @classmethod
    def of(cls, spec: Path, include: Iterable[str | os.PathLike[str]] = ()) -> Allowed:
        """What a spec, which is a file or a folder, may read; `include`: further folders."""
        folders = [os.path.realpath(folder_of(spec)), *map(os.path.realpath, include)]
        with suppress(FileNotFoundError):
            folders.append(os.path.realpath(resource("specs")))
        return cls(tuple(folders))

    def open(self, path: str) -> tuple[BinaryIO, str]:
        """A file by its absolute path, and its path without links; Outside, OSError; ValueError for what is no spec."""
        for _ in range(_MAX_LINKS):
            found = _step(self._holding(path), path)
            if isinstance(found, int):
                return _regular(found), path
            path = found
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _holding(self, path: str) -> str:
        holding = [folder for folder in self.folders if os.path.commonpath((folder, path)) == folder]
        if not holding:
            raise Outside
        if not path.endswith(SUFFIX):
            raise ValueError(f"its name does not end in {SUFFIX}")
        return max(holding, key=len)


def folder_of(spec: Path) -> Path:
    """The folder of a spec, which is a file or a folder."""
    return spec if os.path.isdir(spec) else spec.parent


def open_named(path: Path) -> tuple[BinaryIO, str]:
    """A file that the user has named, wherever it is, and its path without links; OSError, ValueError."""
    os.stat(path)
    real = os.path.realpath(path)
    return Allowed((os.path.dirname(real),)).open(real)


def _step(folder: str, path: str) -> int | str:
    """A descriptor of the file, or, if a link is on the way to it, the path that this leads to."""
    names = os.path.relpath(path, folder).split(os.sep)
    with open_folder(Path(folder)) as start:
        at = os.dup(start)
        try:
            for number, name in enumerate(names):
                target = _link(name, at)
                if target is not None:
                    return os.path.normpath(os.path.join(folder, *names[:number], target, *names[number + 1 :]))
                below = os.open(name, _ENTER if number < len(names) - 1 else _READ, dir_fd=at)
                os.close(at)
                at = below
            file, at = at, -1
            return file
        finally:
            if at >= 0:
                os.close(at)


def _link(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a link
            return None
        raise


def _regular(file: int) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError("not a regular file")
    return os.fdopen(file, "rb")
