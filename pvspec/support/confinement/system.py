"""The calls to the kernel that Python does not have."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


class ConfinementError(Exception):
    """The system cannot confine a process; the message says what it lacks."""


def call(number: int, *arguments: int | bytes | None) -> int:
    """A system call by number, with numbers and buffers; its result. Raises OSError."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    return _checked(syscall(ctypes.c_long(number), *map(_word, arguments)))


def renounce_privileges() -> None:
    """No program that this process starts gets more rights than it has; without that there is no confinement."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)


def keep_memory_private() -> None:
    """No core dump of this process is written, and no other process of the user can look into it."""
    _control(_PR_SET_DUMPABLE, 0)


def _control(option: int, value: int) -> None:
    if sys.platform != "linux":
        raise ConfinementError("only Linux can confine a process")
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    try:
        _checked(prctl(option, *map(_word, (value, 0, 0, 0))))
    except OSError as error:
        raise ConfinementError(f"the kernel refuses prctl({option}): {error.strerror}") from None


def _word(argument: int | bytes | None) -> ctypes.c_long | ctypes.c_char_p:
    return ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
