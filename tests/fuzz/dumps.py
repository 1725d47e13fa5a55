"""Memory of a running kernel as attackers make it: cores, flat memory, segments in a row, and readers that lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from pvspec.kernel import ImageError, KernelImage, open_kernel
from pvspec.kernel.dump.dump import Dump, open_dump
from tests.fuzz.cell import expected
from tests.fuzz.elf import BANNER, CORE, Part, elf_file, kernel
from tests.fuzz.executables import broken
from tests.fuzz.files import fails_well, written
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.kernel.test_kallsyms import BASE

_WORDS = (b"\x7fELF", b"KERNELOFFSET=", b"\nKERNELOFFSET=1e000000\n", b"VMCOREINFO\0", b"\xff" * 4, bytes(8), BANNER)


@cache
def _running(bits: int) -> KernelImage:
    return open_kernel(written(kernel(bits), f"vmlinux{bits}"))


def _flat() -> Iterator[bytes]:
    for bits in (32, 64):
        memory = bytes(_running(bits).memory)
        yield memory
        yield b"".join(memory[start - BASE[bits] :][:size] for start, size in _running(bits).segments)


def _cores() -> Iterator[bytes]:
    for bits in (32, 64):
        memory = bytes(_running(bits).memory)
        yield elf_file(bits, [Part("", memory, BASE[bits])], CORE)
        yield elf_file(bits, [Part("", memory[:200], BASE[bits]), Part("", memory[200:], BASE[bits] + 200)], CORE)
        yield core(bits, memory, b"\nKERNELOFFSET=0\n")


def core(bits: int, memory: bytes, note: bytes) -> bytes:
    """A core with a note of VMCOREINFO before the memory."""
    said = struct.pack("<III", 11, len(note), 0) + b"VMCOREINFO\0\0" + note
    file = bytearray(elf_file(bits, [Part("", said, 1), Part("", memory, BASE[bits])], CORE))
    struct.pack_into("<I", file, 52 if bits == 32 else 64, 4)  # the first segment is a PT_NOTE
    return bytes(file)


def made(h: Hostile) -> bytes:
    bits = h.random.choice((32, 64))
    memory = bytes(_running(bits).memory)
    note = b"OSRELEASE=6.1\nKERNELOFFSET=%x\n" % h.unbounded(0x1E000000) if h.happens(3) else b"\nKERNELOFFSET=0\n"
    note += h.random.choice((b"\n", b"KERNELOFFSET=", b"a")) * h.times(1, 1 << 17)
    return broken(h, core(bits, h.data(memory * h.times(1, 100)), note), bits)


def _raw(h: Hostile) -> bytes:
    memory = bytes(_running(h.random.choice((32, 64))).memory)
    pieces = [memory[at : at + 64] for at in range(0, len(memory), 64)]
    return h.data(b"".join(h.shuffled(pieces))) + (BANNER + bytes(60)) * h.times(0, 4000)


def _dump(data: bytes) -> str:
    path = written(data, "dump")
    return "".join(fails_well(path, partial(_read_all, _running(bits))) for bits in (32, 64))


def _read_all(image: KernelImage, path: Path) -> None:
    _read(open_dump(path, image), image)


def _read(dump: Dump, image: KernelImage) -> None:
    for address in (image.base, image.base + 200, image.end - 8, 0):
        assert len(dump.read(address, 8)) == 8


# ---- memory that another program reads


class _Reader:
    """Memory at an address; the first bytes of the input say where, and how it misbehaves."""

    def __init__(self, data: bytes) -> None:
        how, rise, self.piece = struct.unpack("<BIH", data[:7].ljust(7, b"\0"))
        self.how, self.memory = how, data[7:]
        self.base = BASE[64] + (rise << 16)

    def read(self, address: int, size: int) -> bytes:
        assert address >= 0
        assert 1 <= size <= 1 << 20
        assert address + size <= 1 << 64
        at = address - self.base
        found = self.memory[at : at + size] if 0 <= at < len(self.memory) else b""
        if self.how & 1 and len(found) < size:
            raise LookupError("not mapped")
        if self.how & 2 and self.piece:
            found = found[: self.piece]
        if self.how & 4:
            found = found.ljust(size, b"\0")
        return found + b"x" if self.how & 8 and at % 256 == 0 else found


def _readers() -> Iterator[bytes]:
    for how in (0, 1, 2, 4):
        yield struct.pack("<BIH", how, 0, 100) + bytes(_running(64).memory)
        yield struct.pack("<BIH", how, 0x1E00, 100) + bytes(_running(64).memory)


def _reader(data: bytes) -> str:
    try:
        _read(open_dump(_Reader(data), _running(64)), _running(64))
    except ImageError as error:
        return expected(error)
    return ""


def targets() -> Iterator[Target]:
    yield Target("core", False, _cores, _WORDS, _dump, made)
    yield Target("flat-dump", False, _flat, _WORDS, _dump, _raw)
    yield Target("reader", False, _readers, _WORDS, _reader)
