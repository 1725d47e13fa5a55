"""A kernel that runs on the machine itself. Its memory is saved by physical address.

It lies where it is linked to, unless the machine's command line has the word `kaslr`: then it lies where it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pvspec.kernel import KernelImage

from . import guest
from .qemu import Machine, monitor, running

INIT = guest.sending(kallsyms=True)
WORDS = "nokaslr console=ttyS0 panic=-1 no_timer_check"
"""For every kernel's command line: it lies where it is linked to, and on a busy machine does not panic about timers."""
KASLR = "kaslr"
"""A word of a machine's command line; today's kernels know only its contrary, and do what it says without that."""
PHYSICAL_OFFSET = {"i386": 0xC0000000, "x86_64": 0xFFFFFFFF80000000}
"""Virtual minus physical address of the kernel image: PAGE_OFFSET (VMSPLIT_3G), __START_KERNEL_map."""


def run(work: Path, image: KernelImage, machine: Machine, timeout: float) -> None:
    """Boot `work`/vmlinuz with `work`/initrd, and leave memory and files.tar.gz there."""
    with booted(work, machine, timeout):
        physical = image.base - PHYSICAL_OFFSET[image.machine]
        if is_moved(machine):
            physical = guest.physical_place(guest.sent(work / "sent"))
        asyncio.run(_save(work, image, physical))
    (work / "sent").rename(work / "files.tar.gz")


@contextmanager
def booted(work: Path, machine: Machine, timeout: float) -> Iterator[None]:
    """The machine that runs `work`/vmlinuz with `work`/initrd, when `work`/sent is there."""
    shape = ["-cpu", machine.cpu, "-smp", str(machine.smp), "-m", str(machine.memory)]
    kernel = ["-kernel", f"{work}/vmlinuz", "-initrd", f"{work}/initrd", "-append", _command_line(machine)]
    with running(work, [*shape, *kernel], timeout) as process:
        process.wait_for_marker()
        yield


def is_moved(machine: Machine) -> bool:
    """Whether KASLR is on."""
    return KASLR in machine.append.split()


def _command_line(machine: Machine) -> str:
    words = WORDS.removeprefix("nokaslr ") if is_moved(machine) else WORDS
    return f"{words} {machine.append}"


async def _save(work: Path, image: KernelImage, physical: int) -> None:
    async with monitor(work) as client:
        await client.execute("stop")
        saved = {"val": physical, "size": len(image.memory), "filename": str(work / "memory")}
        await client.execute("pmemsave", saved)
