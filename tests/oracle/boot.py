"""A kernel booted in QEMU, and its memory: what patching really leaves behind.

The kernel runs under TCG with KASLR off, so that it lies at the addresses it is linked to, and its init sends some
files of /proc and says when it is done. Then the machine is stopped and the image's memory saved. A dump is kept
under `cache_directory()`, by all that it depends on.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pvspec.kernel import KernelImage, open_image

from .fetch import Unavailable, cache_directory

QEMU = "qemu-system-x86_64"
MARKER = b"pvspec: guest is ready"
PHYSICAL_OFFSET = {"i386": 0xC0000000, "x86_64": 0xFFFFFFFF80000000}
"""Virtual minus physical address of the kernel image: PAGE_OFFSET (VMSPLIT_3G), __START_KERNEL_map."""

_GUEST_FILES = "cpuinfo version cmdline iomem kallsyms"
_INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /sent
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for name in {_GUEST_FILES}; do cat /proc/$name > /sent/$name; done
dmesg > /sent/dmesg
stty -F /dev/ttyS1 raw -echo
tar -C /sent -cf - . | gzip -1 > /sent.tar.gz
cat /sent.tar.gz > /dev/ttyS1
sleep 1
echo {MARKER.decode()} > /dev/console
while :; do sleep 1000; done
"""


@dataclass(frozen=True)
class Dump:
    """The memory of a booted kernel, at the addresses of its image, and what its init sent."""

    base: int
    memory_path: Path
    files_path: Path

    @cached_property
    def memory(self) -> bytes:
        """All of it, from the virtual address `base` on."""
        return self.memory_path.read_bytes()

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a virtual address of the image."""
        start = address - self.base
        if not 0 <= start <= len(self.memory) - size:
            raise ValueError(f"{size} bytes at {address:#x} lie outside the dump")
        return self.memory[start : start + size]

    def text(self, start: int, end: int) -> bytes:
        """The bytes in [start, end)."""
        return self.read(start, end - start)

    @cached_property
    def files(self) -> Mapping[str, bytes]:
        """By name: cpuinfo, version, cmdline, iomem, kallsyms, dmesg."""
        with tarfile.open(self.files_path) as archive:
            return {
                Path(member.name).name: file.read()
                for member in archive
                if (file := archive.extractfile(member)) is not None
            }


def boot(
    kernel: Path,
    busybox: Path,
    *,
    cpu: str = "qemu64",
    smp: int = 1,
    append: str = "",
    memory: int = 512,
    timeout: float = 300,
) -> Dump:
    """Boot a bzImage or the package of one, or take the kept dump of such a boot; raises Unavailable.

    `busybox` must be static and of the kernel's architecture; `memory` is in MiB, `timeout` in seconds. A guest that
    does not come up raises RuntimeError with the end of its console.
    """
    image = open_image(kernel)
    settings = [_qemu_version(), _digest(kernel), _digest(busybox), _INIT, cpu, str(smp), append, str(memory)]
    key = hashlib.sha256("\0".join(settings).encode()).hexdigest()[:32]
    kept = cache_directory() / "dumps" / f"{image.release}-{cpu}-smp{smp}-{key}"
    if not kept.exists():
        command = ["-cpu", cpu, "-smp", str(smp), "-m", str(memory), "-append", _command_line(append)]
        _boot_into(kept, image, busybox, command, timeout)
    return Dump(image.base, kept / "memory", kept / "files.tar.gz")


def _qemu_version() -> str:
    if shutil.which(QEMU) is None:
        raise Unavailable(f"{QEMU} is not installed (Debian package qemu-system-x86)")
    return subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _command_line(append: str) -> str:
    return f"nokaslr console=ttyS0 panic=-1 {append}".strip()


def _boot_into(kept: Path, image: KernelImage, busybox: Path, command: list[str], timeout: float) -> None:
    """Boot, and leave the directory `kept`, whole or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pvspec-") as scratch,
        tempfile.TemporaryDirectory(dir=kept.parent) as new,
    ):
        work, result = Path(scratch), Path(new) / "dump"
        result.mkdir()
        (work / "vmlinuz").write_bytes(_bzimage(image))
        (work / "initrd").write_bytes(gzip.compress(_initramfs(busybox.read_bytes()), 1))
        with _machine(work, command) as machine:
            _wait_for_marker(machine, work / "console", timeout)
            asyncio.run(_save_memory(work / "qmp", image, work / "memory"))
        shutil.move(work / "memory", result / "memory")
        shutil.move(work / "files.tar.gz", result / "files.tar.gz")
        if not kept.exists():
            result.rename(kept)


def _bzimage(image: KernelImage) -> bytes:
    if image.kind != "package":
        return image.path.read_bytes()
    from pvspec.kernel.package import extract_vmlinuz

    with image.path.open("rb") as file:
        return extract_vmlinuz(file)


@contextmanager
def _machine(work: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU with the console, the files and the QMP socket in `work`; killed on leaving."""
    fixed = ["-accel", "tcg", "-display", "none", "-nodefaults", "-no-reboot"]
    boot = ["-kernel", f"{work}/vmlinuz", "-initrd", f"{work}/initrd"]
    ports = ["-serial", f"file:{work}/console", "-serial", f"file:{work}/files.tar.gz"]
    monitor = ["-qmp", f"unix:{work}/qmp,server=on,wait=off"]
    with (work / "errors").open("wb") as errors:
        machine = subprocess.Popen(
            [QEMU, *fixed, *boot, *ports, *monitor, *command],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
    try:
        yield machine
    finally:
        machine.kill()
        machine.wait()


def _wait_for_marker(machine: subprocess.Popen[bytes], console: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while MARKER not in (text := console.read_bytes() if console.exists() else b""):
        if machine.poll() is not None or time.monotonic() > deadline:
            errors = (console.parent / "errors").read_text(errors="replace")
            raise RuntimeError(f"the guest did not come up: {errors}\n{text[-2000:].decode(errors='replace')}")
        time.sleep(0.25)


async def _save_memory(socket: Path, image: KernelImage, target: Path) -> None:
    from qemu.qmp import QMPClient

    monitor = QMPClient()
    await monitor.connect(str(socket))
    try:
        await monitor.execute("stop")
        physical = image.base - PHYSICAL_OFFSET[image.machine]
        saved = {"val": physical, "size": len(image.memory), "filename": str(target)}
        await monitor.execute("pmemsave", saved)
    finally:
        await monitor.disconnect()


def _initramfs(busybox: bytes) -> bytes:
    """A cpio archive with a console, busybox, and the init above."""
    entries = [
        _cpio_entry("dev", 0o040755),
        _cpio_entry("dev/console", 0o020600, device=(5, 1)),
        _cpio_entry("bin", 0o040755),
        _cpio_entry("bin/busybox", 0o100755, busybox),
        _cpio_entry("init", 0o100755, _INIT.encode()),
        _cpio_entry("TRAILER!!!", 0),
    ]
    return b"".join(entries)


def _cpio_entry(name: str, mode: int, contents: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One entry of the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    inode = uid = gid = mtime = checksum = 0
    links = 1
    fields = (inode, mode, uid, gid, links, mtime, len(contents), 0, 0, *device, len(name) + 1, checksum)
    header = "070701" + "".join(f"{field:08X}" for field in fields)
    return _pad(header.encode() + name.encode() + b"\0") + _pad(contents)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
