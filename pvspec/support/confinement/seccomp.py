"""The kernel's interface, all but a part of it taken away by a seccomp filter.

What Python and the libraries need to compute, to read files and to write one is allowed. All else does not exist for
the process: the network, other processes, other programs, mounts, namespaces, tracing, keys, new kernel interfaces of
which nobody has thought yet; also what changes the owner, mode, times or links of files, which Landlock leaves alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pvspec.support.confinement.system import ConfinementError, call

_SET_MODE_FILTER = 1
_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC

_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_NOT_THERE, _NOT_ALLOWED = _REFUSE | errno.ENOSYS, _REFUSE | errno.EPERM
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_SIZE = 8  # bytes of an instruction
_NUMBER, _CONVENTION, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


class _Machine(NamedTuple):
    convention: int  # AUDIT_ARCH_…: how a call is made, for which some machines have several ways
    seccomp: int
    column: int


class _Some(NamedTuple):
    numbers: tuple[int, int]
    argument: int
    values: Callable[[], tuple[int, ...]]


_MACHINES = {"x86_64": _Machine(0xC000003E, 317, 0), "aarch64": _Machine(0xC00000B7, 277, 1)}

CALLS = {
    # files that are open
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "close": (3, 57), "close_range": (436, 436), "fstat": (5, 80), "lseek": (8, 62),
    "flock": (73, 32), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "ftruncate": (77, 46),
    "fsync": (74, 82), "fdatasync": (75, 83), "fadvise64": (221, 223), "getdents64": (217, 61), "fgetxattr": (193, 10),
    # paths; Landlock decides
    "open": (2, None), "openat": (257, 56), "stat": (4, None), "lstat": (6, None), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17), "getxattr": (191, 8),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "linkat": (265, 37),
    "unlink": (87, None), "unlinkat": (263, 35), "umask": (95, 166),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "msync": (26, 227), "membarrier": (324, 283),
    # the process itself
    "exit": (60, 93), "exit_group": (231, 94), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158),
    "getrusage": (98, 165), "getrlimit": (97, 163), "sysinfo": (99, 179), "uname": (63, 160), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getrandom": (318, 278), "set_tid_address": (218, 96),
    "set_robust_list": (273, 99), "rseq": (334, 293), "futex": (202, 98), "restart_syscall": (219, 128),
    "arch_prctl": (158, None),
    # signals, time, waiting
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "sigaltstack": (131, 132), "setitimer": (38, 103), "getitimer": (36, 102), "alarm": (37, None),
    "pause": (34, None), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "poll": (7, None),
    "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
}  # fmt: skip
"""Calls that are allowed: their numbers on x86_64 and on aarch64, which lacks some."""

_FCNTL = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_IOCTL = (0x5401, 0x802C542A, 0x5413, 0x5450, 0x5451)  # TCGETS, TCGETS2, TIOCGWINSZ, FIONCLEX, FIOCLEX

SOME: dict[str, _Some] = {
    "kill": _Some((62, 129), 0, lambda: (os.getpid(),)),
    "tgkill": _Some((234, 131), 0, lambda: (os.getpid(),)),
    "prlimit64": _Some((302, 261), 0, lambda: (0,)),
    "fcntl": _Some((72, 25), 1, lambda: _FCNTL),
    "ioctl": _Some((16, 29), 1, lambda: _IOCTL),
}
"""Calls that are allowed if an argument has one of some values: their numbers, which argument, the values.

So a process signals itself only, and does not read from, type into or configure a terminal, only asks about it.
"""


def filter_calls() -> None:
    """Take away the calls that are not allowed, from all threads; ConfinementError if the kernel cannot."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise ConfinementError(f"there is no list of system calls for {platform.machine() or 'this machine'}")
    program = b"".join(_program(machine))
    begin = ctypes.create_string_buffer(program)
    try:
        call(
            machine.seccomp,
            _SET_MODE_FILTER,
            _ALL_THREADS,
            struct.pack("@HP", len(program) // _SIZE, ctypes.addressof(begin)),
        )
    except OSError as error:
        raise ConfinementError(
            f"the kernel takes no seccomp filter ({error.strerror}): it must have CONFIG_SECCOMP_FILTER"
        ) from None


def _program(machine: _Machine) -> Iterator[bytes]:
    """The filter: eight bytes an instruction. A call of another kind, such as a 32-bit one, ends the process."""
    yield _instruction(_LOAD, _CONVENTION)
    yield _instruction(_EQUAL, machine.convention, 1, 0)
    yield _instruction(_RETURN, _KILL)
    yield _instruction(_LOAD, _NUMBER)
    for numbers in CALLS.values():
        number = numbers[machine.column]
        if number is not None:
            yield _instruction(_EQUAL, number, 0, 1)
            yield _instruction(_RETURN, _ALLOW)
    for some in SOME.values():
        values = some.values()
        yield _instruction(_EQUAL, some.numbers[machine.column], 0, 2 * len(values) + 2)
        yield _instruction(_LOAD, _ARGUMENTS + 8 * some.argument)  # the low half: these arguments are ints
        for value in values:
            yield _instruction(_EQUAL, value, 0, 1)
            yield _instruction(_RETURN, _ALLOW)
        yield _instruction(_RETURN, _NOT_ALLOWED)
    yield _instruction(_RETURN, _NOT_THERE)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """A struct sock_filter: an instruction, its number, how many instructions it passes over."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
