"""What a process that was taken over would try.

Run with a folder and `confined` as arguments, it confines itself to reading `readable` and to replacing files in `out`
of that folder, tries all of it, and prints what came of each as JSON: null where it succeeded, else the error. With
`free` it tries what does no harm, and what should succeed then.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from pvspec.support.confinement import ConfinementError, confine

HERE = Path(sys.argv[1]).resolve()
OUTSIDE = HERE / "outside"
LIBC = ctypes.CDLL(None, use_errno=True)

# System calls of x86_64, each with its arguments; refused is what the filter refuses, not what is wrong with these.
NUMBERS = {
    "fork": (57,), "vfork": (58,), "clone": (56, 17, 0, 0, 0, 0), "clone3": (435, 0, 0),
    "execveat": (322, -100, 0, 0, 0, 0),
    "socket": (41, 2, 1, 0), "socketpair": (53, 1, 1, 0, 0),
    "ptrace": (101, 16, 1, 0, 0), "mount": (165, 0, 0, 0, 0, 0),
    "unshare": (272, 0x10000000), "setns": (308, 0, 0), "userfaultfd": (323, 0), "io_uring_setup": (425, 1, 0),
    "bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, -1, -1, 0), "keyctl": (250, 0, 0, 0, 0, 0),
    "add_key": (248, 0, 0, 0, 0, 0), "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0), "pivot_root": (155, 0, 0), "chroot": (161, 0), "setuid": (105, 0),
    "swapon": (167, 0, 0), "reboot": (169, 0, 0, 0, 0), "settimeofday": (164, 0, 0), "personality": (135, 0),
    "memfd_create": (319, 0, 0), "open_by_handle_at": (304, 0, 0, 0), "name_to_handle_at": (303, -100, 0, 0, 0, 0),
    "pidfd_open": (434, 1, 0), "pidfd_getfd": (438, 3, 0, 0), "fanotify_init": (300, 0, 0), "inotify_init1": (294, 0),
    "shmget": (29, 0, 4096, 0o600), "mq_open": (240, 0, 0, 0, 0), "prctl": (157, 4, 1, 0, 0, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "openat2": (437, -100, 0, 0, 0), "seccomp": (317, 0, 0, 0), "landlock_create_ruleset": (444, 0, 0, 1),
    "x32 getpid": (0x40000000 | 39,), "kill another": (62, 1, 0), "kill its group": (62, 0, 0), "kill all": (62, -1, 0),
    "tgkill another": (234, 1, 1, 0), "tkill": (200, 1, 0), "prlimit another": (302, 1, 4, 0, 0),
    "type into the terminal": (16, 0, 0x5412, 0), "signal by a file": (72, 0, 8, 1),
}  # fmt: skip


def read(path: str | Path) -> Callable[[], object]:
    return lambda: os.close(os.open(path, os.O_RDONLY))


def write(path: str | Path) -> Callable[[], object]:
    return lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def number(*words: int) -> Callable[[], object]:
    def call() -> None:
        ctypes.set_errno(0)
        if LIBC.syscall(*map(ctypes.c_long, words)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return call


def link_out() -> None:
    os.link(HERE / "readable/file", HERE / "out/link")


FORBIDDEN: dict[str, Callable[[], object]] = {
    "read outside": read(OUTSIDE / "file"),
    "list outside": lambda: os.listdir(OUTSIDE),
    "read /etc/passwd": read("/etc/passwd"),
    "read through /proc/self/root": read(f"/proc/self/root{OUTSIDE}/file"),
    "read through /proc/self/cwd": read("/proc/self/cwd/outside/file"),
    "read through a link": read(HERE / "readable/link"),
    "read through ..": read(HERE / "readable/../outside/file"),
    "read the environment": read("/proc/self/environ"),
    "read memory": read("/proc/self/mem"),
    "write memory": write("/proc/self/mem"),
    "read the devices": read("/dev/tty" if os.path.exists("/dev/tty") else "/dev/zero"),
    "read the other's memory": read("/proc/1/environ"),
    "write outside": write(OUTSIDE / "file"),
    "make a file outside": write(OUTSIDE / "new"),
    "make a file without a name outside": lambda: os.open(OUTSIDE, os.O_TMPFILE | os.O_WRONLY),
    "write what is readable": write(HERE / "readable/file"),
    "make a file where it reads": write(HERE / "readable/new"),
    "truncate": lambda: os.truncate(HERE / "readable/file", 0),
    "truncate as it opens": lambda: os.open(HERE / "readable/file", os.O_RDONLY | os.O_TRUNC),
    "chmod": lambda: os.chmod(OUTSIDE / "file", 0o777),
    "chmod what is readable": lambda: os.chmod(HERE / "readable/file", 0o4755),
    "chmod what it makes": lambda: os.chmod(HERE / "out/file", 0o4755),
    "chown": lambda: os.chown(OUTSIDE / "file", os.getuid(), os.getgid()),
    "utime": lambda: os.utime(OUTSIDE / "file", (0, 0)),
    "setxattr": lambda: os.setxattr(HERE / "out/file", "user.pvspec", b""),
    "unlink": lambda: os.unlink(OUTSIDE / "file"),
    "unlink what is readable": lambda: os.unlink(HERE / "readable/file"),
    "rename": lambda: os.rename(OUTSIDE / "file", OUTSIDE / "other"),
    "rename into": lambda: os.rename(HERE / "out/file", OUTSIDE / "file"),
    "rename out of": lambda: os.rename(OUTSIDE / "file", HERE / "out/taken"),
    "hard link": link_out,
    "symlink": lambda: os.symlink("/etc", HERE / "out/symlink"),
    "mkdir": lambda: os.mkdir(HERE / "out/folder"),
    "rmdir": lambda: os.rmdir(OUTSIDE / "folder"),
    "mkfifo": lambda: os.mkfifo(HERE / "out/fifo"),
    "chdir": lambda: os.chdir("/"),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "exec itself": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "TCP": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    "UNIX socket": lambda: socket.socket(socket.AF_UNIX),
    "netlink": lambda: socket.socket(16, socket.SOCK_RAW),
    "thread": lambda: threading.Thread(target=print).start(),
    "raise a limit": lambda: __import__("resource").setrlimit(0, (-1, -1)),
}

HARMLESS = (
    "read outside", "list outside", "read /etc/passwd", "read through /proc/self/root", "read through /proc/self/cwd",
    "read through a link", "read through ..", "read the environment", "read memory", "write outside", "truncate",
    "write what is readable", "chmod what is readable", "chown", "utime", "hard link", "mkdir", "mkfifo", "symlink",
    "rename into", "UNIX socket", "netlink", "thread", "chdir",
)  # fmt: skip

ALLOWED: dict[str, Callable[[], object]] = {
    "read": read(HERE / "readable/file"),
    "list": lambda: os.listdir(HERE / "readable"),
    "make": write(HERE / "out/new"),
    "make without a name": lambda: os.close(os.open(HERE / "out", os.O_TMPFILE | os.O_WRONLY)),
    "replace": lambda: os.rename(HERE / "out/new", HERE / "out/file"),
    "stat": lambda: os.stat(HERE / "readable/file"),
    "map memory to run": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "signal itself": lambda: os.kill(os.getpid(), 0),
}


def outcome(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except (OSError, RuntimeError, ValueError) as error:
        return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return None


def main() -> None:
    os.chdir(HERE)
    if sys.argv[2] == "free":
        print(json.dumps({name: outcome(FORBIDDEN[name]) for name in HARMLESS}))
        return
    try:
        confine([HERE / "readable", *(Path(entry) for entry in sys.path if entry)], [], [HERE / "out"])
    except ConfinementError as error:
        sys.exit(f"unconfinable: {error}")
    calls = {name: number(*words) for name, words in NUMBERS.items()} if platform.machine() == "x86_64" else {}
    tried = {"allowed": ALLOWED, "forbidden": FORBIDDEN, "calls": calls}
    print(json.dumps({kind: {name: outcome(this) for name, this in all.items()} for kind, all in tried.items()}))


if __name__ == "__main__":
    main()
