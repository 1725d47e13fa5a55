"""A 64-bit kernel as Xen's PV dom0. Its pages lie anywhere, so its memory is saved by virtual address."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pvspec.kernel import KernelImage

from . import fetch, guest
from .qemu import GuestError, Machine, monitor, running

# By the log: the second serial line's interrupt is taken in a dom0. In kernel mode: a PV guest's user mode has page
# tables without the kernel, and an idle CPU has Xen's own.
INIT = guest.logging()
PAGE, STEP = 4096, 1 << 21
TRIES = 400


def parts() -> Sequence[Path]:
    """What takes part in a boot besides the kernel; raises Unavailable."""
    return [fetch.xen()]


def run(work: Path, image: KernelImage, machine: Machine, timeout: float) -> None:
    """Boot Xen with `work`/vmlinuz and `work`/initrd, and leave memory and files.tar.gz there."""
    (xen,) = parts()
    dom0_memory = machine.memory * 2 // 3
    xen_options = f"console=com1 com1=115200,8n1 noreboot sync_console dom0_max_vcpus={machine.smp}"
    dom0_options = f"console=hvc0 printk.devkmsg=on panic=-1 {machine.append}".strip().replace(",", ",,")
    modules = f"{work}/vmlinuz {dom0_options},{work}/initrd"
    shape = ["-cpu", machine.cpu, "-smp", str(machine.smp), "-m", str(machine.memory)]
    append = f"{xen_options} dom0_mem={dom0_memory}M,max:{dom0_memory}M"
    with running(work, [*shape, "-kernel", str(xen), "-append", append, "-initrd", modules], timeout):
        asyncio.run(_Saving(work, image, machine.smp).save())
    (work / "files.tar.gz").write_bytes(guest.logged((work / "console").read_bytes()))


class _Saving:
    """Reads a stopped dom0 through the page tables of one of its CPUs."""

    def __init__(self, work: Path, image: KernelImage, cpus: int) -> None:
        self._work, self._image, self._cpus = work, image, cpus

    async def save(self) -> None:
        """Memory that is not mapped (freed init pages may be) is zeros."""
        async with monitor(self._work) as self._client:
            await self._stop_in_the_kernel()
            with (self._work / "memory").open("wb") as target:
                for start in range(self._image.base, self._image.end, STEP):
                    target.write(await self._read_mapped(start, min(STEP, self._image.end - start)))

    async def _stop_in_the_kernel(self) -> None:
        """Stop until the kernel's page tables are the live ones of a CPU, which then is `_cpu`."""
        start = self._image.read(self._image.base, 8)
        for attempt in range(TRIES):
            await self._client.execute("stop")
            self._cpu = attempt % self._cpus
            if await self._read(self._image.base, len(start)) == start:
                return
            await self._client.execute("cont")
            await asyncio.sleep(0.05 + 0.01 * (attempt % 7))  # out of step with the guest's timer
        raise GuestError("dom0's page tables were never live")

    async def _read_mapped(self, address: int, size: int) -> bytes:
        contents = await self._read(address, size)
        if contents is not None:
            return contents
        if size <= PAGE:
            return bytes(size)
        pages = [
            await self._read_mapped(page, min(PAGE, address + size - page))
            for page in range(address, address + size, PAGE)
        ]
        return b"".join(pages)

    async def _read(self, address: int, size: int) -> bytes | None:
        """None if not all of it is mapped."""
        from qemu.qmp import ExecuteError

        part = self._work / "part"
        signed = address - (1 << 64) if address >> 63 else address  # a QMP integer has 64 bits and a sign
        saved = {"val": signed, "size": size, "filename": str(part), "cpu-index": self._cpu}
        try:
            await self._client.execute("memsave", saved)
        except ExecuteError:
            return None
        return part.read_bytes()
