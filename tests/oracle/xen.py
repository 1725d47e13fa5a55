"""A 64-bit kernel as Xen's PV dom0, which is all of it that works without a toolstack.

A cloud kernel has no support for a dom0 (CONFIG_XEN_DOM0): its text is patched as any PV guest's, but it has neither
a console nor the serial line's interrupt. So what the guest has to say is read from the kernel's log in its memory.
That in turn is read by virtual address, through the page tables of a CPU: a PV guest's pages lie anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pvspec.kernel import KernelImage

from . import fetch, guest
from .qemu import GuestError, Machine, Running, monitor, running

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

INIT = guest.logging()  # in kernel mode: user mode has page tables without the kernel, and an idle CPU has Xen's own
WORDS = "console=hvc0 printk.devkmsg=on panic=-1"
PAGE, STEP = 4096, 1 << 21
LOG = "__log_buf", 1 << 17  # kernel/printk/printk.c; CONFIG_LOG_BUF_SHIFT is 17 or more


def parts() -> Sequence[Path]:
    """What takes part in a boot besides the kernel; raises Unavailable."""
    return [fetch.xen()]


def run(work: Path, image: KernelImage, machine: Machine, timeout: float) -> None:
    """Boot Xen with `work`/vmlinuz and `work`/initrd, and leave memory and files.tar.gz there.

    Memory that is not mapped, as freed pages may be, is zeros.
    """
    (xen,) = parts()
    dom0_memory = machine.memory * 2 // 3
    options = f"console=com1 com1=115200,8n1 sync_console dom0_max_vcpus={machine.smp}"
    words = f"{WORDS} {machine.append}".replace(",", ",,")
    shape = ["-cpu", machine.cpu, "-smp", str(machine.smp), "-m", str(machine.memory)]
    kernel = ["-kernel", str(xen), "-append", f"{options} dom0_mem={dom0_memory}M,max:{dom0_memory}M"]
    dom0 = ["-initrd", f"{work}/vmlinuz {words},{work}/initrd"]
    with running(work, [*shape, *kernel, *dom0], timeout) as process:
        process.wait_for_monitor()
        asyncio.run(_save(work, image, machine, process))


async def _save(work: Path, image: KernelImage, machine: Machine, process: Running) -> None:
    async with monitor(work) as client:
        cpus = [_Cpu(client, number, work / "part") for number in range(machine.smp)]
        cpu, files = await _stop_when_logged(image, cpus, process)
        (work / "files.tar.gz").write_bytes(files)
        with (work / "memory").open("wb") as target:
            for start in range(image.base, image.end, STEP):
                target.write(await cpu.read_mapped(start, min(STEP, image.end - start)))


async def _stop_when_logged(image: KernelImage, cpus: Sequence[_Cpu], process: Running) -> tuple[_Cpu, bytes]:
    """A CPU, of a stopped machine, that has the kernel's page tables, and what the guest sent."""
    name, size = LOG
    log = image.symbols.address(name)
    if log is None:
        raise GuestError(f"{image.name} has no symbol {name}")
    while True:
        for cpu in cpus:
            await cpu.client.execute("stop")
            files = guest.logged(await cpu.read(log, size) or b"")
            if files is not None:
                return cpu, files
            await cpu.client.execute("cont")
            await asyncio.sleep(0.5)
            process.check()


class _Cpu:
    """Reads what a CPU of the stopped machine has mapped."""

    def __init__(self, client: QMPClient, number: int, part: Path) -> None:
        self.client, self._number, self._part = client, number, part

    async def read(self, address: int, size: int) -> bytes | None:
        """None if not all of it is mapped."""
        from qemu.qmp import ExecuteError

        signed = address - (1 << 64) if address >> 63 else address  # a QMP integer has 64 bits and a sign
        saved = {"val": signed, "size": size, "filename": str(self._part), "cpu-index": self._number}
        try:
            await self.client.execute("memsave", saved)
        except ExecuteError:
            return None
        return self._part.read_bytes()

    async def read_mapped(self, address: int, size: int) -> bytes:
        """Zeros for what is not mapped."""
        contents = await self.read(address, size)
        if contents is None and size > PAGE:
            end = address + size
            contents = b"".join(
                [await self.read_mapped(page, min(PAGE, end - page)) for page in range(address, end, PAGE)]
            )
        return contents or bytes(size)
