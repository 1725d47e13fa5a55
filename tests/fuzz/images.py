"""Files that a kernel comes in: images of every kind, symbol tables, memory dumps."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

from pvspec.kernel import ImageError, KernelImage, open_kernel
from pvspec.kernel.dump.dump import open_dump
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.symbols.symbol_file import SymbolFile
from pvspec.kernel.work import Work
from tests.fuzz.elf import ALLOC, CORE, EXEC, NOBITS, REL, RELA, RELOCATABLE, WRITE, Part, elf_file, symbol_table
from tests.fuzz.loop import Target
from tests.kernel.test_containers import PACKERS, bzimage, package, tar
from tests.kernel.test_kallsyms import BASE, LAYOUTS, encode

_BANNER = b"Linux version 6.1.0-9-test (builder)\0"
_NAMES = (b".text", b".data", b"__ksymtab", b".symtab", b".rodata", b".init", b".modinfo", b"\x7fELF", b"HdrS")
_MARKS = (b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"!<arch>\n", b"\xff\xff\xff\xff", bytes(8), b"`\n")


@cache
def folder() -> Path:
    return Path(mkdtemp())


def written(data: bytes, name: str = "kernel") -> Path:
    """A file with this content."""
    path = folder() / name
    path.write_bytes(data)
    return path


def kernel(bits: int, symbols: bool = True) -> bytes:
    """A vmlinux of a few hundred bytes, with an export."""
    base = BASE[bits]
    parts = [
        Part(".text", b"\xf0\x90\xe8\0\0\0\0\xc3", base, ALLOC | EXEC),
        Part(".rodata", _BANNER, base + 64),
        Part("__ksymtab", struct.pack("<iii", -128, 8, 0), base + 128),
        Part("__ksymtab_strings", b"_printk\0", base + 140),
        Part(".data", bytes(16), base + 192, ALLOC | WRITE),
        Part(".bss", bytes(32), base + 256, ALLOC | WRITE, NOBITS),
    ]
    named = {"_text": (base, 1), "_printk": (base + 1, 1), "_etext": (base + 8, 1), "pv_ops": (base + 192, 5)}
    return elf_file(bits, [*parts, *(symbol_table(bits, named, len(parts) + 2) if symbols else [])])


def module(bits: int) -> bytes:
    """A module with a relocation of each type."""
    types = (1, 2, 4) if bits == 32 else (1, 2, 4, 10, 11, 24)
    entry, kind = ("<II", REL) if bits == 32 else ("<QQq", RELA)
    more: tuple[int, ...] = () if bits == 32 else (-4,)
    rows = b"".join(
        struct.pack(entry, 8 * at, 2 << (8 if bits == 32 else 32) | type, *more) for at, type in enumerate(types)
    )
    parts = [
        Part(".text", bytes(64), 0, ALLOC | EXEC),
        Part(".modinfo", b"license=GPL\0vermagic=6.1.0-9-test SMP \0"),
        Part(".bss", bytes(16), 0, ALLOC | WRITE, NOBITS),
        Part(".rel.text", rows, 0, 0, kind, 5, 1, struct.calcsize(entry)),
    ]
    named = {"init_module": (0, 1), "_printk": (0, 0), "count": (4, 3)}
    return elf_file(bits, [*parts, *symbol_table(bits, named, len(parts) + 2)], RELOCATABLE)


def _images() -> Iterator[bytes]:
    for bits in (32, 64):
        vmlinux = kernel(bits)
        yield from (vmlinux, kernel(bits, symbols=False), module(bits), gzip.compress(module(bits), mtime=0))
        for codec in sorted(PACKERS.keys() - {"gzip"}):
            yield bzimage(PACKERS[codec](vmlinux) + struct.pack("<I", len(vmlinux)))
    yield bzimage(gzip.compress(kernel(64), mtime=0), version=0x203)
    yield package(tar(bzimage(gzip.compress(kernel(64), mtime=0))))
    yield package(PACKERS["xz"](tar(bzimage(PACKERS["zstd"](kernel(64))))), ".xz")


def _fails_well(path: Path, use: Callable[[Path], object]) -> str:
    """It works, or the error names the file."""
    try:
        use(path)
    except ImageError as error:
        assert str(error).startswith(f"{path}:")
        return str(error)
    return ""


def _use(path: Path) -> None:
    """All that can be done with an image."""
    image = open_kernel(path)
    for name in image.sections:
        image.section_bytes(name)
    image.symbols.name_of(image.base + 1)
    image.symbols.address("_text")
    assert image.exports is not None
    for start, end in image.executable:
        assert image.base <= start <= end <= image.end
    if path.stat().st_size % 8 == 0:
        image.write(path.with_name("copy"), image.memory)


def _image(data: bytes) -> str:
    return _fails_well(written(data), _use)


def _relocations() -> Iterator[bytes]:
    """What lies behind the ELF file, as vmlinux.relocs has it."""
    for bits, lists in ((32, 1), (64, 2), (64, 3)):
        words = [
            word for part in range(lists) for word in (0, *(BASE[bits] + 8 * at & 0xFFFFFFFF for at in range(part + 2)))
        ]
        yield bytes([bits]) + struct.pack(f"<{len(words)}I", *words)


def _relocated(data: bytes) -> str:
    """The first byte is the number of bits, or says 64."""
    bits = 32 if data[:1] == b" " else 64
    return _fails_well(written(bzimage(kernel(bits) + data[1:])), _move)


def _move(path: Path) -> None:
    image = open_kernel(path)
    moved = image.moved(image.alignment)
    assert moved.base == image.base + image.alignment
    assert len(moved.memory) == len(image.memory)
    assert moved.symbols.address("_text") == moved.base


def _tables() -> Iterator[bytes]:
    entries = [(0, "T", "_text"), *((at * 16, "t", f"f{at}") for at in range(1, 20))]
    for bits, order, addresses in LAYOUTS:
        image, _ = encode(entries, bits, order, addresses)
        yield bytes(image[4096 - 64 : -(1 << 17)])


def _kallsyms(data: bytes) -> str:
    said = ""
    for bits in (32, 64):
        try:
            symbols = decode_kallsyms(bytearray(data), BASE[bits], bits, Work())
        except ImageError as error:
            assert str(error).startswith("kallsyms: ")
            said += str(error)
        else:
            assert all(before.address <= after.address for before, after in pairwise(symbols))
            said += f"found {'many' if symbols else 'none'}"
    return said


@cache
def _running(bits: int) -> KernelImage:
    return open_kernel(written(kernel(bits), f"vmlinux{bits}"))


def _dumps() -> Iterator[bytes]:
    for bits in (32, 64):
        memory = bytes(_running(bits).memory)
        yield memory
        yield b"".join(memory[start - BASE[bits] :][:size] for start, size in _running(bits).segments)
        yield elf_file(bits, [Part("", memory, BASE[bits])], CORE)
        yield elf_file(bits, [Part("", memory[:200], BASE[bits]), Part("", memory[200:], BASE[bits] + 200)], CORE)


def _dump(data: bytes) -> str:
    return "".join(_fails_well(written(data, "dump"), partial(_read_all, _running(bits))) for bits in (32, 64))


def _read_all(image: KernelImage, path: Path) -> None:
    dump = open_dump(path, image)
    for address in (image.base, image.base + 200, image.end - 8, 0):
        assert len(dump.read(address, 8)) == 8


def _maps() -> Iterator[bytes]:
    yield b"c1000000 T _text\nc1000010 t f\t[module]\n00000000 A zero\n         U none\n"
    yield b"".join(b"%016x T f%d\n" % (BASE[64] + at, at) for at in range(20))
    yield kernel(32)
    yield package(tar(b"c1000000 T _text\n", name="./usr/lib/debug/boot/System.map-6.1"))


def _given(data: bytes) -> str:
    return _fails_well(written(data, "symbols"), _symbols)


def _symbols(path: Path) -> None:
    for symbol in SymbolFile.of(path).symbols(Work()):
        assert 0 <= symbol.address < 1 << 64
        assert symbol.name
        assert len(symbol.kind) == 1


def targets() -> Iterator[Target]:
    yield Target("image", False, _images, (*_NAMES, *_MARKS), _image)
    yield Target("moved", False, _relocations, (bytes(4), b"\xff" * 4, b"\0\0\0\x81", b"\0\0\0\xc1"), _relocated)
    yield Target("kallsyms", False, _tables, (b"0\x001\x002\0", b"t", b"\0", b"\x7f", b"\x80"), _kallsyms)
    yield Target("dump", False, _dumps, _MARKS, _dump)
    yield Target("symbols", True, _maps, (b" T ", b"\n", b"ffffffff", b"_text", b"\t[", b"\xff", *_MARKS), _given)
