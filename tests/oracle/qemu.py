"""QEMU: a machine with two serial lines, a monitor, and no other devices than those asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .fetch import Unavailable
from .guest import MARKER

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

QEMU = "qemu-system-x86_64"
BARE = ["-display", "none", "-nodefaults", "-no-reboot"]


class GuestError(RuntimeError):
    """A guest that did not come up, or whose memory cannot be read; the text has the end of its console."""


@dataclass(frozen=True)
class Machine:
    """What a kernel is booted on: QEMU's -cpu and -smp, words for the kernel's command line, who runs it, MiB of RAM.

    `hypervisor` is "native", "xen" (the kernel is the PV dom0), "kvm" or "hyperv" (the CPU is the guest's).
    """

    cpu: str = "qemu64"
    smp: int = 1
    append: str = ""
    hypervisor: str = "native"
    memory: int = 512


def program() -> Path:
    """Where QEMU is; raises Unavailable."""
    found = shutil.which(QEMU)
    if found is None:
        raise Unavailable(f"{QEMU} is not installed (Debian package qemu-system-x86)")
    return Path(found)


def version() -> str:
    """What QEMU says of itself; raises Unavailable."""
    return subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout


class Running:
    """A machine that runs, its console and the monitor's socket in a directory."""

    def __init__(self, work: Path, process: subprocess.Popen[bytes], timeout: float) -> None:
        self._work, self._process = work, process
        self._deadline = time.monotonic() + timeout

    def console(self) -> bytes:
        """What the first serial line has got so far."""
        path = self._work / "console"
        return path.read_bytes() if path.exists() else b""

    def wait_for_monitor(self) -> None:
        """Until the monitor's socket is there; raises GuestError as `check` does."""
        while not (self._work / "qmp").exists():
            self.check()
            time.sleep(0.25)

    def check(self) -> None:
        """Raise GuestError if the machine has stopped by itself or its time is over."""
        if self._process.poll() is not None or time.monotonic() > self._deadline:
            errors = (self._work / "errors").read_text(errors="replace")
            end = self.console()[-2000:].decode(errors="replace")
            raise GuestError(f"the guest did not come up: {errors}\n{end}")

    def cpu_seconds(self) -> float:
        """What it has taken of the host's processors."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime

    def wait_for_marker(self) -> None:
        """Until the marker is on the console; raises GuestError as `check` does."""
        while MARKER not in self.console():
            self.check()
            time.sleep(0.25)


@contextmanager
def running(work: Path, arguments: Sequence[str], timeout: float) -> Iterator[Running]:
    """An emulated machine (TCG), killed on leaving.

    In `work` lie its console (the first serial line), what its second serial line sends (`sent`), and the socket of
    its monitor (`qmp`). Its time is over after `timeout` seconds.
    """
    ports = ["-serial", f"file:{work}/console", "-serial", f"file:{work}/sent"]
    socket = ["-qmp", f"unix:{work}/qmp,server=on,wait=off"]
    with (work / "errors").open("wb") as errors:
        command = [str(program()), "-accel", "tcg", *BARE, *ports, *socket, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
    try:
        yield Running(work, process, timeout)
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def monitor(work: Path) -> AsyncIterator[QMPClient]:
    """The monitor of the machine that runs in `work`; raises GuestError if that refuses a command, or is gone."""
    from qemu.qmp import QMPClient, QMPError

    client = QMPClient()
    try:
        await client.connect(str(work / "qmp"))
        try:
            yield client
        finally:
            with suppress(EOFError):  # the machine has stopped
                await client.disconnect()
    except QMPError as problem:
        raise GuestError(f"the guest cannot be read: {problem}") from problem
