"""Kernels with one damaged record: where Linux stops there is no prediction, and what it passes over stays.

Each is a Debian kernel's vmlinux with a few bytes changed. QEMU enters it by its PVH note, without an initrd: a kernel
that comes up panics since it finds no root file system, and then its text can be compared.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pvspec import Machine, PredictionError, predict
from pvspec.kernel import KernelImage, open_kernel
from pvspec.prediction.cpu import read_cpu
from tests.oracle import bare, fetch
from tests.oracle.cases import Kernel
from tests.oracle.qemu import Running, monitor, running

CPU = "EPYC"
KERNELS = {version: Kernel(version, "amd64", "cloud-amd64") for version in ("5.10", "6.1", "6.12")}
FEATURES = {"5.10": 800, "6.1": 768, "6.12": 768}  # the kernel's numbers end here
UP, BUG = b"Unable to mount root fs", b"kernel BUG at "
ARGUMENTS = ["-cpu", CPU, "-smp", "1", "-m", "512"]
WORDS = f"{bare.WORDS} earlyprintk=ttyS0 panic=0"
TIMEOUT = 120  # seconds


@dataclass
class Damaged:
    """A kernel's image, and its memory with the damage."""

    image: KernelImage
    memory: bytearray

    def words(self, address: int, form: str) -> tuple[int, ...]:
        return struct.unpack_from(form, self.memory, address - self.image.base)

    def put(self, address: int, data: str) -> None:
        code = bytes.fromhex(data)
        start = address - self.image.base
        self.memory[start : start + len(code)] = code

    def symbol(self, name: str) -> int:
        address = self.image.symbols.address(name)
        assert address is not None
        return address

    def static_call(self, tail: int) -> int:
        """The first site of a static call of a function, or of a tail call."""
        for at in range(self.symbol("__start_static_call_sites"), self.symbol("__stop_static_call_sites"), 8):
            site, key = self.words(at, "<ii")
            if key & 1 == tail and self.words(at + 4 + (key & ~3), "<Q")[0]:
                return at + site
        raise AssertionError

    def calls_of_fentry(self) -> list[int]:
        """In the order of the table; records of weak functions that were replaced are zeros, and count for nothing."""
        start, end = self.symbol("__start_mcount_loc"), self.symbol("__stop_mcount_loc")
        return [site for site in self.words(start, f"<{(end - start) // 8}Q") if site]

    def jump_labels(self) -> Iterator[int]:
        for at in range(self.symbol("__start___jump_table"), self.symbol("__stop___jump_table"), 16):
            yield at + self.words(at, "<i")[0]


@cache
def image_of(version: str) -> KernelImage | fetch.Unavailable:
    try:
        return open_kernel(KERNELS[version].package())
    except fetch.Unavailable as reason:
        return reason


def damaged(version: str) -> Damaged:
    image = image_of(version)
    if isinstance(image, fetch.Unavailable):
        pytest.skip(str(image))
    return Damaged(image, bytearray(image.memory))


def predicted(kernel: Damaged, work: Path) -> bytes | str:
    """The text that is predicted for the damaged kernel, or why there is none."""
    kernel.image.write(work / "vmlinux", kernel.memory)
    image = open_kernel(work / "vmlinux", symbols=system_map(kernel.image, work))
    try:
        return bytes(predict(image, Machine(cpu=read_cpu(CPU), cpus=1)).text)
    except PredictionError as error:
        return str(error)


def system_map(image: KernelImage, work: Path) -> Path:
    """The symbols, which are read from a file faster than from a damaged image's kallsyms, and alike."""
    path = work / "System.map"
    path.write_text("".join(f"{address:x} {kind} {name}\n" for address, kind, name in image.symbols))
    return path


def run(kernel: Damaged, work: Path) -> tuple[bytes, bytes]:
    """The kernel's console once it is up, has stopped or is halted for good; and its text."""
    words = ["-kernel", f"{work}/vmlinux", "-append", WORDS]
    with running(work, [*ARGUMENTS, *words], TIMEOUT) as machine:
        machine.wait_for_monitor()
        return asyncio.run(_watch(machine, kernel.image, work))


async def _watch(machine: Running, image: KernelImage, work: Path) -> tuple[bytes, bytes]:
    async with monitor(work) as client:
        while not (UP in machine.console() or BUG in machine.console() or await _halted(machine, client)):
            machine.check()
            time.sleep(0.2)
        physical = image.base - bare.PHYSICAL_OFFSET[image.machine]
        saved = {"val": physical, "size": len(image.memory), "filename": str(work / "memory")}
        await client.execute("stop")
        await client.execute("pmemsave", saved)
    start, end = (image.symbols.address(name) or 0 for name in ("_text", "_etext"))
    return machine.console(), (work / "memory").read_bytes()[start - image.base : end - image.base]


async def _halted(machine: Running, client: object) -> bool:
    """Whether it has halted before it could say anything: `early_fixup_exception` does, and nothing wakes it."""
    from qemu.qmp import QMPClient

    assert isinstance(client, QMPClient)
    registers = await client.execute("human-monitor-command", {"command-line": "info registers"})
    return "HLT=1" in str(registers) and not machine.console()


def check_stops(version: str, kernel: Damaged, work: Path, message: str) -> None:
    """The kernel stops, and there is no prediction, which says why."""
    found = predicted(kernel, work)
    assert isinstance(found, str)
    assert message in found
    assert "record " in found
    console, _ = run(kernel, work)
    assert UP not in console


def check_goes_on(kernel: Damaged, work: Path, address: int, size: int) -> None:
    """The kernel comes up, and at the address it has what was predicted."""
    found = predicted(kernel, work)
    assert not isinstance(found, str), found
    console, text = run(kernel, work)
    assert UP in console
    start = address - kernel.symbol("_text")
    assert text[start : start + size].hex(" ") == found[start : start + size].hex(" ")


@pytest.mark.parametrize("version", KERNELS)
def test_a_feature_beyond_the_last_one(version: str, tmp_path: Path) -> None:
    kernel = damaged(version)
    record = kernel.image.sections[".altinstructions"].address
    inverted = kernel.words(record, "<iiH")[2] & 0x8000 if version != "6.12" else 0
    kernel.put(record + 8, (FEATURES[version] | inverted).to_bytes(2, "little").hex())
    check_stops(version, kernel, tmp_path, "a feature beyond the last one")


@pytest.mark.parametrize("version", KERNELS)
def test_the_last_feature(version: str, tmp_path: Path) -> None:
    kernel = damaged(version)
    record = kernel.image.sections[".altinstructions"].address
    kernel.put(record + 8, (FEATURES[version] - 1).to_bytes(2, "little").hex())
    check_goes_on(kernel, tmp_path, record + kernel.words(record, "<i")[0], 3)


@pytest.mark.parametrize("version", KERNELS)
def test_a_lock_that_is_none(version: str, tmp_path: Path) -> None:
    """With one processor; `ss` is a prefix that does nothing there."""
    kernel = damaged(version)
    locks, text = kernel.image.sections[".smp_locks"], kernel.symbol("_text")
    records = range(locks.address, locks.end, 4)
    site = next(site for at in records if (site := at + kernel.words(at, "<i")[0]) > text + 0x1000)
    kernel.put(site, "36")
    check_goes_on(kernel, tmp_path, site, 1)


@pytest.mark.parametrize("version", ["6.1", "6.12"])
@pytest.mark.parametrize(("tail", "code"), [(0, "e9"), (1, "e8"), (1, "eb 03")])
def test_a_static_call_that_is_none(version: str, tail: int, code: str, tmp_path: Path) -> None:
    kernel = damaged(version)
    kernel.put(kernel.static_call(tail), code)
    check_stops(version, kernel, tmp_path, "on something else")


def test_a_static_call_that_is_none_in_5_10(tmp_path: Path) -> None:
    """It warns, and writes."""
    kernel = damaged("5.10")
    site = kernel.static_call(0)
    kernel.put(site, "e9")
    check_goes_on(kernel, tmp_path, site, 5)


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_a_conditional_tail_call(version: str, tmp_path: Path) -> None:
    """As clang writes it: the condition stays. The site's next byte becomes a part of it, which nothing runs here."""
    kernel = damaged(version)
    site = kernel.static_call(1)
    kernel.put(site, "0f 85 00 00 00 00")
    check_goes_on(kernel, tmp_path, site, 6)


@pytest.mark.parametrize("version", KERNELS)
def test_tracing_that_gives_up(version: str, tmp_path: Path) -> None:
    """The kernel goes on, but all calls at addresses after the wrong one stay; that is not predicted."""
    kernel = damaged(version)
    sites = kernel.calls_of_fentry()
    wrong = sorted(sites)[100]
    kernel.put(wrong, "0f 1f 40 00 90")
    found = predicted(kernel, tmp_path)
    assert isinstance(found, str)
    assert f"record {sites.index(wrong)}, site {wrong:#x}" in found
    assert "no call of __fentry__" in found
    console, text = run(kernel, tmp_path)
    assert b"ftrace failed to modify" in console
    last = max(site for site in sites if site < kernel.symbol("_etext")) - kernel.symbol("_text")
    assert text[last : last + 1] == b"\xe8"


# ---- what the kernel looks at when a variable changes, as some do while it comes up


@cache
def text_of_undamaged(version: str) -> bytes:
    with TemporaryDirectory() as folder:
        kernel = damaged(version)
        kernel.image.write(Path(folder, "vmlinux"), kernel.memory)
        console, text = run(kernel, Path(folder))
    assert UP in console
    return text


def switched(version: str, kernel: Damaged, sites: Iterable[int]) -> int:
    """The first of these sites that the kernel has changed."""
    base, text = kernel.symbol("_text"), text_of_undamaged(version)
    inside = (site for site in sites if base <= site < kernel.symbol("_etext"))
    return next(site for site in inside if text[site - base : site - base + 2] != kernel.image.read(site, 2))


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_a_jump_label_that_is_none(version: str, tmp_path: Path) -> None:
    kernel = damaged(version)
    kernel.put(switched(version, kernel, kernel.jump_labels()), "50 58")
    check_stops(version, kernel, tmp_path, "a jump label on something else")


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_a_trampoline_without_its_mark(version: str, tmp_path: Path) -> None:
    """Without state there is no telling whether its function changes, so it is predicted as it is."""
    kernel = damaged(version)
    trampolines = (symbol.address for symbol in kernel.image.symbols if symbol.name.startswith("__SCT__"))
    site = switched(version, kernel, (address for address in trampolines if is_changed_by_key(kernel, address)))
    kernel.put(site + 5, "0f b9 cd")
    found = predicted(kernel, tmp_path)
    assert not isinstance(found, str), found
    console, _ = run(kernel, tmp_path)
    assert UP not in console


def is_changed_by_key(kernel: Damaged, trampoline: int) -> bool:
    """Whether it jumps to a function: one that returns is patched as a return site, too."""
    place = kernel.image.symbols.name_of(trampoline)
    assert place
    key = kernel.image.symbols.address(place[0].replace("__SCT__", "__SCK__"))
    return key is not None and bool(kernel.words(key, "<Q")[0])
