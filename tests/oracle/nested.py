"""A kernel as the guest of KVM, which runs in a Linux of its own in an emulated machine with AMD's SVM.

KVM may show its guest the interface of Hyper-V, to which Linux then behaves as to Hyper-V itself. The Linux around
the guest is Debian's cloud kernel: it has a driver for NVMe built in, and its initramfs carries this machine's QEMU.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from debian.debfile import DebFile

from pvspec.kernel import KernelImage

from . import bare, fetch, guest
from .qemu import BARE, GuestError, Machine, program, running

INIT = guest.sending(kallsyms=False)
WORDS = f"{bare.WORDS} loglevel=5"  # each byte on a serial line is slow
HYPERV = ",kvm=off,hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,hv-synic,hv-stimer,hv-tlbflush,hv-ipi"
"""What Hyper-V offers a guest and QEMU can: with hv-tlbflush Linux flushes TLBs by hypercalls."""

_MODULES = ["virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko"]
_FIRMWARE = {"bios-256k.bin", "kvmvapic.bin", "linuxboot.bin", "linuxboot_dma.bin"}
_FIRMWARE_DIRECTORIES = [Path("/usr/share/qemu"), Path("/usr/share/seabios")]  # as Debian's QEMU has them
_AROUND = """mount -t tmpfs none /tmp
for module in {modules}; do insmod /guest/$module; done
touch /tmp/console
{{
    for second in $(seq {seconds}); do
        grep -q '{marker}' /tmp/console || [ -e /tmp/over ] && break
        sleep 1
    done
    echo stop
    echo 'pmemsave {physical} {size} "/tmp/memory"'
    echo quit
}} | {{ /usr/bin/qemu {arguments} > /tmp/monitor 2>&1; touch /tmp/over; }}
tar -C /tmp -cf - . | dd of=/dev/nvme0n1 bs=64k conv=fsync
"""
_GUEST = "-accel kvm -kernel /guest/vmlinuz -initrd /guest/initrd -L /usr/share/qemu -monitor stdio"
_GUEST_SERIAL = "-serial file:/tmp/console -serial file:/tmp/files.tar.gz"


def parts() -> Sequence[Path]:
    """What takes part in a boot besides the kernel: the package of the Linux around it, busybox, QEMU.

    Raises Unavailable.
    """
    return [fetch.kernel_package("amd64", "cloud-amd64"), fetch.busybox("amd64"), program()]


def run(work: Path, image: KernelImage, machine: Machine, timeout: float) -> None:
    """Boot `work`/vmlinuz with `work`/initrd, and leave memory and files.tar.gz there."""
    package, busybox, _ = parts()
    files = {f"guest/{name}": (work / name).read_bytes() for name in ("vmlinuz", "initrd")}
    files |= _kvm(package) | _qemu()
    init = guest.init(_around(image, machine, timeout))
    (work / "outer-vmlinuz").write_bytes(fetch.bzimage(package))
    (work / "outer-initrd").write_bytes(guest.initramfs(busybox, init, files))
    with (work / "disk").open("wb") as disk:
        disk.truncate(len(image.memory) + (16 << 20))
    with running(work, _outer_machine(work, machine), timeout) as outer:
        outer.wait_for_marker()
    _unpack(work, len(image.memory))


def _outer_machine(work: Path, machine: Machine) -> list[str]:
    shape = ["-cpu", "max", "-smp", "2", "-m", str(machine.memory + 1536)]
    disk = ["-drive", f"file={work}/disk,format=raw,if=none,id=disk", "-device", "nvme,serial=0,drive=disk"]
    return [
        *shape,
        *disk,
        "-kernel",
        f"{work}/outer-vmlinuz",
        "-initrd",
        f"{work}/outer-initrd",
        "-append",
        f"{WORDS} mitigations=off",
    ]


def _around(image: KernelImage, machine: Machine, timeout: float) -> str:
    shape = f"-cpu {machine.cpu} -smp {machine.smp} -m {machine.memory} -append '{WORDS} {machine.append}'"
    return _AROUND.format(
        modules=" ".join(Path(module).name for module in _MODULES),
        marker=guest.MARKER.decode(),
        physical=hex(image.base - bare.PHYSICAL_OFFSET[image.machine]),
        size=len(image.memory),
        seconds=int(timeout * 0.75),  # so that a guest that hangs still shows its console
        arguments=" ".join([*BARE, _GUEST, _GUEST_SERIAL, shape]),
    )


def _kvm(package: Path) -> dict[str, bytes]:
    """The modules of KVM, by their paths in the initramfs."""
    with DebFile(package) as deb:
        archive: tarfile.TarFile = deb.data.tgz()
        return {
            f"guest/{Path(member.name).name}": file.read()
            for member in archive
            if member.name.partition("/kernel/")[2] in _MODULES and (file := archive.extractfile(member))
        }


def _qemu() -> dict[str, bytes]:
    """QEMU, its libraries and firmware, by their paths in the initramfs."""
    libraries = re.findall(
        r"/\S+", subprocess.run(["ldd", program()], capture_output=True, text=True, check=True).stdout
    )
    files = {name.lstrip("/"): Path(name).read_bytes() for name in libraries}
    files |= {f"usr/share/qemu/{path.name}": path.read_bytes() for path in _firmware()}
    return files | {"usr/bin/qemu": program().read_bytes()}


def _firmware() -> Iterator[Path]:
    for name in sorted(_FIRMWARE):
        found = [path for directory in _FIRMWARE_DIRECTORIES if (path := directory / name).exists()]
        if not found:
            raise fetch.Unavailable(f"QEMU's firmware {name} is not where Debian has it")
        yield found[0]


def _unpack(work: Path, size: int) -> None:
    """What the outer Linux left on the disk."""
    with tarfile.open(work / "disk") as archive:
        archive.extractall(work / "inner", filter="data")
    inner = work / "inner"
    memory = inner / "memory"
    if not memory.exists() or memory.stat().st_size != size:
        said = "".join((inner / name).read_text(errors="replace")[-1500:] for name in ("monitor", "console"))
        raise GuestError(f"the guest did not come up: {said}")
    for name in ("memory", "files.tar.gz"):
        (inner / name).rename(work / name)
