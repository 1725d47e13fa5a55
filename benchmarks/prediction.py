"""A whole prediction as a process, beside the boot of the same kernel in an emulator."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.figure import Figure
from pvspec.kernel import open_kernel
from tests.oracle import bare, fetch, guest, qemu
from tests.prediction.hostile import alternatives, locks, make_image

REPS = 5
TIME_BOUND = 3  # s, with the kernel unpacked and the spec compiled before; symbols are read anew
MEMORY_BOUND = 400  # MiB
HOSTILE_BOUND = 10  # s


def figures() -> Iterator[Figure]:
    """CPU time and peak memory of `pvspec predict` for Debian's 6.1 amd64 kernel, and how long its boot takes."""
    yield from _hostile()
    try:
        package = fetch.kernel_package("amd64", "amd64")
    except fetch.Unavailable as reason:
        yield Figure("pvspec predict, Linux 6.1 amd64", None, TIME_BOUND, "s", str(reason))
        return
    with tempfile.TemporaryDirectory(prefix="pvspec-benchmark-") as folder:
        command = ["predict", str(package), "--cpu", "EPYC", "-o", f"{folder}/text"]
        cold, memory = _cold(command)
        yield Figure("pvspec predict, Linux 6.1 amd64, with no cache", cold, None, "s", f"CPU time; {memory:.0f} MiB")
        _measured(command)
        runs = sorted(_measured(command) for _ in range(REPS))
    yield Figure("pvspec predict, Linux 6.1 amd64", runs[REPS // 2][0], TIME_BOUND, "s", "CPU time")
    yield Figure("  its peak memory", max(memory for _, memory in runs), MEMORY_BOUND, "MiB")
    yield Figure("  the kernel's boot in QEMU (TCG)", _boot(package), None, "s")


def _hostile() -> Iterator[Figure]:
    """Tables with as much work as is let in: how long the worst of them take."""
    tables = ("1,400,000 locks", b"", locks(1_400_000)), ("long sites", alternatives(15_000, 255, 0), b"")
    for name, long_sites, many in tables:
        with tempfile.TemporaryDirectory(prefix="pvspec-benchmark-") as folder:
            try:
                make_image(Path(folder), alternatives=long_sites, locks=many)
            except FileNotFoundError:
                yield Figure(f"a hostile image: {name}", None, HOSTILE_BOUND, "s", "as is not installed")
                continue
            command = ["predict", f"{folder}/vmlinux", "--spec", f"{folder}/hostile.pvs", "--features", "FAST"]
            yield Figure(f"a hostile image: {name}", _measured(command)[0], HOSTILE_BOUND, "s", "CPU time")


def _cold(command: list[str]) -> tuple[float, float]:
    """As `_measured`, for the first time on a machine: the spec is compiled, the kernel unpacked."""
    with tempfile.TemporaryDirectory(prefix="pvspec-benchmark-") as folder:
        return _measured(command, {**os.environ, "PVSPEC_CACHE": folder})


def _measured(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """CPU time in s, and peak memory in MiB."""
    done = subprocess.run([sys.executable, "-c", _TOLD, *command], capture_output=True, text=True, env=environment)
    done.check_returncode()
    seconds, kilobytes = done.stderr.split()
    return float(seconds), int(kilobytes) / 1024


# Asked from outside, a process also counts the memory of the one that started it, up to its exec.
_TOLD = """\
import re, sys, time
from pathlib import Path
from pvspec.cli import main
if main(sys.argv[1:]):
    sys.exit(1)
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(time.process_time(), peak, file=sys.stderr)
"""


def _boot(package: Path) -> float | None:
    """Seconds until the guest's init has said what there is to say."""
    try:
        busybox = fetch.busybox("amd64")
        with tempfile.TemporaryDirectory(prefix="pvspec-benchmark-") as folder:
            work = Path(folder)
            (work / "vmlinuz").write_bytes(fetch.bzimage(package))
            (work / "initrd").write_bytes(guest.initramfs(busybox, bare.INIT))
            image = open_kernel(package)
            started = time.monotonic()
            bare.run(work, image, qemu.Machine("EPYC"), timeout=300)
            return time.monotonic() - started
    except (fetch.Unavailable, qemu.GuestError):
        return None
