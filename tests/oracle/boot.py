"""A kernel booted in QEMU, and its memory: what patching really leaves behind.

The kernel lies at the addresses it is linked to, unless KASLR is asked for (see `bare`). Its init sends some files of
/proc and /sys and says when it is done. Then the machine is stopped and the image's memory saved. A dump is kept
under `cache_directory()`, by all that it depends on.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pvspec.kernel import KernelImage, open_kernel

from . import bare, guest, nested, qemu, xen
from .fetch import bzimage, cache_directory
from .qemu import Machine


@dataclass(frozen=True)
class Dump:
    """The memory of a booted kernel, from the address `base` of its first byte on, and what its init sent."""

    base: int
    memory_path: Path
    files_path: Path

    @property
    def directory(self) -> Path:
        """Where it is kept; the name says which boot it was, with a digest of all that took part."""
        return self.memory_path.parent

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
        """By name: cpuinfo, version, cmdline, iomem, vulnerabilities, dmesg; of a kernel that runs bare, kallsyms."""
        return guest.sent(self.files_path)


PLAIN = Machine()


class Way(NamedTuple):
    """How a kernel is booted under a hypervisor: its init, the first words of its command line, and what runs it.

    `parts` are the files that take part besides the kernel; it raises Unavailable. `run` finds vmlinuz and initrd in
    a directory and leaves memory and files.tar.gz there. `flags` are added to those of the CPU.
    """

    init: str
    words: str
    parts: Callable[[], Sequence[Path]]
    run: Callable[[Path, KernelImage, Machine, float], None]
    flags: str = ""


WAYS = {
    "native": Way(bare.INIT, bare.WORDS, tuple, bare.run),
    "xen": Way(xen.INIT, xen.WORDS, xen.parts, xen.run),
    "kvm": Way(nested.INIT, nested.WORDS, nested.parts, nested.run),
    "hyperv": Way(nested.INIT, nested.WORDS, nested.parts, nested.run, nested.HYPERV),
}


def boot(kernel: Path, busybox: Path, machine: Machine = PLAIN, *, timeout: float = 600) -> Dump:
    """Boot a bzImage or the package of one, or take the kept dump of such a boot; raises Unavailable.

    `busybox` must be static and of the kernel's architecture; `timeout` is in seconds. A guest that does not come up
    raises GuestError with the end of its console.
    """
    machine = replace(machine, cpu=machine.cpu + WAYS[machine.hypervisor].flags)
    image = open_kernel(kernel)
    kept = cache_directory() / "dumps" / _name(image, [kernel, busybox], machine)
    if not kept.exists():
        _boot_into(kept, image, busybox, machine, timeout)
    dump = Dump(image.base, kept / "memory", kept / "files.tar.gz")
    return replace(dump, base=guest.virtual_place(dump.files)) if bare.is_moved(machine) else dump


def _name(image: KernelImage, files: Sequence[Path], machine: Machine) -> str:
    way = WAYS[machine.hypervisor]
    digests = [_digest(path) for path in (*files, *way.parts())]
    key = hashlib.sha256(
        "\0".join([qemu.version(), way.init, way.words, *map(str, astuple(machine)), *digests]).encode()
    )
    model = machine.cpu.partition(",")[0]
    return f"{image.release}-{machine.hypervisor}-{model}-smp{machine.smp}-{key.hexdigest()[:32]}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _boot_into(kept: Path, image: KernelImage, busybox: Path, machine: Machine, timeout: float) -> None:
    """Boot, and leave the directory `kept`, whole or not at all."""
    way = WAYS[machine.hypervisor]
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pvspec-") as scratch,
        tempfile.TemporaryDirectory(dir=kept.parent) as new,
    ):
        work, result = Path(scratch), Path(new) / "dump"
        result.mkdir()
        (work / "vmlinuz").write_bytes(bzimage(Path(image.name)))
        (work / "initrd").write_bytes(guest.initramfs(busybox, way.init))
        way.run(work, image, machine, timeout)
        for name in ("memory", "files.tar.gz"):
            shutil.move(work / name, result / name)
        if not kept.exists():
            result.rename(kept)
