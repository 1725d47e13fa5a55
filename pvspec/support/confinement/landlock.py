"""The file system, taken away by Landlock (Linux 5.13): what no rule allows is refused, whoever runs the process.

The numbers are those of <linux/landlock.h>; what a kernel does not know is not asked of it.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path

from pvspec.support.confinement.system import ConfinementError, call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every machine
_VERSION = 1  # a flag of the first: only tell the version
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL  # the others are of folders only

_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
"""All rights over files, by the version of Landlock that brought the last of them."""

_NET_VERSION, _NET_RIGHTS = 4, 0b11  # to bind and to connect TCP sockets
_SCOPE_VERSION, _SCOPES = 6, 0b11  # abstract sockets and signals of processes outside


class Rules:
    """What a process may still do with files once `enforce` is called. ConfinementError if there is no Landlock."""

    def __init__(self) -> None:
        version = _version()
        self._rights = max(rights for since, rights in _FILE_RIGHTS.items() if since <= version)
        handled = [self._rights]
        if version >= _NET_VERSION:
            handled.append(_NET_RIGHTS)
        if version >= _SCOPE_VERSION:
            handled.append(_SCOPES)
        attributes = struct.pack(f"={len(handled)}Q", *handled)
        self._rules = call(_CREATE_RULESET, attributes, len(attributes), 0)

    def read(self, path: Path) -> None:
        """Allow to read a file, or all in a folder."""
        self._allow(path, _READ_FILE | _READ_DIR)

    def make_files(self, folder: Path) -> None:
        """Allow to make new files in a folder, and those below it, and to write to the files there."""
        self._allow(folder, _MAKE_REG | _WRITE_FILE)

    def replace_files(self, folder: Path) -> None:
        """Allow to make files in a folder, and those below it, also in the place of others."""
        self._allow(folder, _MAKE_REG | _WRITE_FILE | _REMOVE_FILE)

    def enforce(self) -> None:
        """Take away all else from this thread, and from those that it starts."""
        call(_RESTRICT_SELF, self._rules, 0)
        os.close(self._rules)

    def _allow(self, path: Path, rights: int) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # what is not there cannot be read; the command will say so
            return
        try:
            if not os.path.isdir(f"/proc/self/fd/{place}"):
                rights &= _OF_FILES
            call(_ADD_RULE, self._rules, _PATH_BENEATH, struct.pack("=Qi", rights & self._rights, place), 0)
        except OSError as error:
            if error.errno != errno.EBADFD:  # a pipe or the like: in no file system, so no rule is needed
                raise
        finally:
            os.close(place)


def _version() -> int:
    if sys.platform != "linux":
        raise ConfinementError("only Linux can confine a process")
    try:
        return call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        raise ConfinementError(
            "the kernel has no Landlock: it is in Linux 5.13 and later, if `landlock` is among its security modules "
            "(/sys/kernel/security/lsm)"
        ) from None
