"""Data symbols that an i386 kernel lacks, and that are found by what its code and data say, in code by an attacker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pvspec.kernel import ImageError, KernelImage, open_kernel
from tests.fuzz.cell import expected
from tests.fuzz.elf import ALLOC, EXEC, WRITE, Part, elf_file
from tests.fuzz.files import folder
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.kernel.binutils import BASE, assemble, run
from tests.kernel.test_data_symbols import KERNEL
from tests.kernel.test_kallsyms import Entry, encode

_WORDS = (b"\xb8", b"\xe8", b"\xe9", b"\xc7\x05", b"\xa3", b"\x89", bytes.fromhex("3e8d742600"), b"\xc3", b"\x81\xfb")


@cache
def _linked() -> KernelImage:
    source = folder() / "k.o"
    assemble(KERNEL, source, "i386")
    run("ld", "-m", "elf_i386", "-Ttext", hex(BASE["i386"]), "-e", "0", "-o", folder() / "k", source)
    return open_kernel(folder() / "k")


@cache
def _functions() -> list[Entry]:
    functions = sorted((s.address, s.kind, s.name) for s in _linked().symbols if s.kind in "tT")
    return [(address - BASE["i386"], kind, name) for address, kind, name in functions]


def _tables(entries: list[Entry]) -> bytes:
    return bytes(encode(entries, 32, "new", "relative")[0][4096 - 64 : -(1 << 17)])


def _code() -> bytes:
    """Text and data, up to where the kernel has room for kallsyms."""
    return bytes(_linked().memory).rstrip(b"\0") + bytes(64)


def _seeds() -> Iterator[bytes]:
    yield _code() + _tables(_functions())


def _made(h: Hostile) -> bytes:
    """Functions where there are none, trampolines by the thousand, the same code again and again."""
    code, entries = _code(), list(_functions())
    more = h.times(3, 12_000)
    place = h.random.choice([entry for entry in entries if entry[2].startswith("__SCT__")])[0]
    step = h.random.choice((0, 0, 1, 8))
    entries += [(min(place + step * at, len(code)), "t", f"__SCT__{at}") for at in range(more)]
    words = [code[at : at + 32] for at in range(0, len(code), 32)]
    code = b"".join(h.shuffled(words)) + h.random.choice(words) * h.times(1, 8000)
    return h.data(code) + _tables(sorted((h.number(at, 20), kind, name) for at, kind, name in entries))


def _found(data: bytes) -> str:
    """Keys are in the image, and told once; the first part of the data is text, as large as the linked kernel's."""
    image = _linked()
    end = next(end for _, end in image.executable) - image.base
    parts = [
        Part(".text", data[:end], image.base, ALLOC | EXEC),
        Part(".data", data[end:], image.base + end, ALLOC | WRITE),
    ]
    try:
        symbols = list(open_kernel(elf_file(32, parts)).symbols)
    except ImageError as error:
        return expected(error)
    keys = [symbol for symbol in symbols if symbol.name.startswith("__SCK__")]
    assert all(image.base <= key.address < image.base + len(data) for key in keys)
    assert len({key.name for key in keys}) == len(keys)
    return f"{len(keys)} keys, {sum('jump_table' in symbol.name for symbol in symbols)}"


def targets() -> Iterator[Target]:
    yield Target("data-symbols", False, _seeds, _WORDS, _found, _made)
