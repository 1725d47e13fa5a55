"""A kernel that runs on the machine itself. Its memory is saved by physical address."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pvspec.kernel import KernelImage

from . import guest
from .qemu import Machine, monitor, running

INIT = guest.sending(kallsyms=True)
WORDS = "nokaslr console=ttyS0 panic=-1 no_timer_check"
"""For every kernel's command line: it lies where it is linked to, and on a busy machine does not panic about timers."""
PHYSICAL_OFFSET = {"i386": 0xC0000000, "x86_64": 0xFFFFFFFF80000000}
"""Virtual minus physical address of the kernel image: PAGE_OFFSET (VMSPLIT_3G), __START_KERNEL_map."""


def run(work: Path, image: KernelImage, machine: Machine, timeout: float) -> None:
    """Boot `work`/vmlinuz with `work`/initrd, and leave memory and files.tar.gz there."""
    shape = ["-cpu", machine.cpu, "-smp", str(machine.smp), "-m", str(machine.memory)]
    kernel = ["-kernel", f"{work}/vmlinuz", "-initrd", f"{work}/initrd", "-append", f"{WORDS} {machine.append}"]
    with running(work, [*shape, *kernel], timeout) as process:
        process.wait_for_marker()
        asyncio.run(_save(work, image))
    (work / "sent").rename(work / "files.tar.gz")


async def _save(work: Path, image: KernelImage) -> None:
    async with monitor(work) as client:
        await client.execute("stop")
        physical = image.base - PHYSICAL_OFFSET[image.machine]
        saved = {"val": physical, "size": len(image.memory), "filename": str(work / "memory")}
        await client.execute("pmemsave", saved)
