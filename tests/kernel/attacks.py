"""Kernels, modules, dumps and files of symbols that ask for more than any machine should give: a function each.

Each writes its files into a folder, and returns what is to be done with them there, a command line of `pvspec`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.fuzz.elf import ALLOC, EXEC, FORMATS, REL, RELA, RELOCATABLE, STRTAB, SYMTAB, Part, elf_file
from tests.kernel.moving import table

BASE = 0xFFFFFFFF81000000
RODATA = BASE + (32 << 20)
PREDICT = ("predict", "vmlinux", "--cpu", "EPYC")
WITH_DUMP = (*PREDICT, "--state", "dump")
WITH_MAP = (*PREDICT, "--symbols", "map")
MODULE = ("predict", "module.ko", "--cpu", "EPYC")

_BANNER = b"Linux version 6.1.0-9-test (builder)\0"
_TEXT = Part(".text", _BANNER.ljust(1 << 16, b"\x90"), BASE, ALLOC | EXEC)
_DATA = Part(".rodata", bytes(number * 167 >> 3 & 0xFF for number in range(1 << 16)), RODATA)
_TOKENS = [bytes([code]) if chr(code).isalnum() or code == ord("_") else b"t%d_" % code for code in range(256)]

Attack = Callable[[Path], Sequence[str]]


def _vmlinux(folder: Path, *parts: Part, after: bytes = b"") -> None:
    (folder / "vmlinux").write_bytes(elf_file(64, [_TEXT, *parts]) + after)


def _symbols(count: int, names: bytes, stride: int, undefined: bool = False) -> list[Part]:
    rows = (
        struct.pack("<I2BH2Q", 1 + at * stride % (len(names) // 2), 0x12, 0, not undefined, BASE, 0)
        for at in range(count)
    )
    return [Part(".symtab", b"".join(rows), 0, 0, SYMTAB, 3), Part(".strtab", names, 0, 0, STRTAB)]


def many_symbols(folder: Path) -> Sequence[str]:
    """More symbols than any kernel has."""
    _vmlinux(folder, *_symbols(2_000_000, b"\0f\0", 0))
    return PREDICT


def symbols_that_share_a_name(folder: Path) -> Sequence[str]:
    """Each name is an end of one string: gigabytes in sum."""
    _vmlinux(folder, *_symbols(490_000, b"\0" + b"a" * 4000 + b"\0", 7))
    return PREDICT


def sections_that_share_a_name(folder: Path) -> Sequence[str]:
    contents = bytearray(elf_file(64, [_TEXT, *[Part("", b"", 0, 0)] * 60_000, Part("n" * 4000, b"")]))
    (start,) = struct.unpack_from("<Q", contents, 40)
    name = contents.index(b"n" * 4000) - contents.index(b"\0.text\0")
    for number in range(60_000):
        struct.pack_into("<I", contents, start + 64 * (number + 2), name + number % 8)
    (folder / "vmlinux").write_bytes(contents)
    return PREDICT


def exports_that_share_a_name(folder: Path) -> Sequence[str]:
    """The relocations of a module ask for the exports of its kernel."""
    count, place = 240_000, RODATA + (1 << 20)
    strings = place + 12 * count
    rows = (struct.pack("<iii", 0, strings + at % 8 - (place + 12 * at + 4), 0) for at in range(count))
    exports = b"".join(rows) + b"x" * 500 + b"\0"
    _vmlinux(folder, Part("__ksymtab", exports[: 12 * count], place), Part(".strings", exports[12 * count :], strings))
    _module(folder, 64, 1)
    return *MODULE, "--vmlinux", "vmlinux"


def _kallsyms(folder: Path, tokens: Sequence[bytes], names: bytes, count: int, markers: Iterator[int]) -> None:
    """The layout of Linux 6.4, but for the addresses."""
    starts = [0]
    for token in tokens[:-1]:
        starts.append(starts[-1] + len(token) + 1)
    parts = (
        struct.pack("<Q", count),
        names,
        b"".join(struct.pack("<I", at) for at in markers),
        b"".join(token + b"\0" for token in tokens),
        struct.pack("<256H", *starts),
    )
    _vmlinux(folder, Part(".rodata", b"".join(part + bytes(-len(part) % 8) for part in parts) + bytes(1 << 17), RODATA))


def kallsyms_that_expand(folder: Path) -> Sequence[str]:
    """A token of 500 bytes, 100 times in each of 250,000 names: 12 GB."""
    tokens, one, count = [*_TOKENS[:200], b"x" * 500, *_TOKENS[201:]], bytes([101, ord("T"), *[200] * 100]), 250_000
    _kallsyms(folder, tokens, one * count, count, iter(range(0, len(one) * count, 256 * len(one))))
    return PREDICT


def kallsyms_with_many_beginnings(folder: Path) -> Sequence[str]:
    """Each of 30,000 places may be where the names begin, by all of its markers but the last one."""
    count = 490_000
    blocks = -(-count // 256)
    markers = [0, *range(1, blocks - 2), 3_150_000, 3_149_000]
    _kallsyms(folder, _TOKENS, struct.pack("<Q", count) * 400_000, count, iter(markers))
    return PREDICT


def a_map_of_one_line(folder: Path) -> Sequence[str]:
    _vmlinux(folder)
    (folder / "map").write_bytes(b"c1000000 T " + b"a " * (30 << 20))
    return WITH_MAP


def a_map_of_many_lines(folder: Path) -> Sequence[str]:
    _vmlinux(folder)
    (folder / "map").write_bytes(b"\n" * (60 << 20))
    return WITH_MAP


def a_map_without_end(folder: Path) -> Sequence[str]:
    _vmlinux(folder)
    (folder / "map").symlink_to("/dev/zero")
    return WITH_MAP


def _module(folder: Path, bits: int, relocations: int) -> None:
    """All of them are for one field, which waits for a symbol."""
    form = FORMATS[bits].symbol
    none = struct.pack(form, 1, 0x12, 0, 0, 0, 0) if bits == 64 else struct.pack(form, 1, 0, 0, 0x12, 0, 0)
    row = struct.pack("<QQq", 0, 1 << 32 | 1, 0) if bits == 64 else struct.pack("<II", 0, 1 << 8 | 1)
    parts = [
        Part(".text", bytes(4096), 0, ALLOC | EXEC),
        Part(".symtab", bytes(len(none)) + none, 0, 0, SYMTAB, 3),
        Part(".strtab", b"\0somewhere\0", 0, 0, STRTAB),
        Part(".modinfo", b"vermagic=6.1.0-9-test \0", 0, 0),
        Part(".rel.text", row * relocations, 0, 0, RELA if bits == 64 else REL, 2, 1),
    ]
    (folder / "module.ko").write_bytes(elf_file(bits, parts, RELOCATABLE))


def a_module_of_waiting_fields(folder: Path) -> Sequence[str]:
    _module(folder, 32, 8_000_000)
    return MODULE


def _core(folder: Path, segments: Sequence[tuple[int, int, int, int]], data: bytes) -> None:
    """Segments are (type, virtual address, physical one, bytes), each of the same `data`."""
    start, count = 128 + 56 * len(segments), len(segments)
    ident = b"\x7fELF" + bytes([2, 1, 1])
    first = struct.pack("<2I4Q2I2Q", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    header = struct.pack(FORMATS[64].header, ident, 4, 62, 1, 0, 128, 64, 0, 64, 56, min(count, 0xFFFF), 64, 1, 0)
    rows = (struct.pack("<2I6Q", kind, 4, start, *place, size, size, 8) for kind, *place, size in segments)
    (folder / "dump").write_bytes(header + first + b"".join(rows) + data)


def notes_that_share_their_bytes(folder: Path) -> Sequence[str]:
    _vmlinux(folder, _DATA)
    _core(folder, [(4, 0, 0, 16 << 20)] * 64_000, b"\nKERNELOFFSET=x\n" * (1 << 20))
    return WITH_DUMP


def a_core_of_crumbs(folder: Path) -> Sequence[str]:
    _vmlinux(folder, _DATA)
    _core(folder, [(1, RODATA + 2 * at, 0, 2) for at in range(250_000)], bytes(4096))
    return WITH_DUMP


def more_segments_than_a_core_has(folder: Path) -> Sequence[str]:
    _vmlinux(folder, _DATA)
    _core(folder, [(1, BASE, 0, 4096)] * 1_000_000, bytes(4096))
    return WITH_DUMP


def a_kernel_at_every_place(folder: Path) -> Sequence[str]:
    """Wherever it may be in physical memory is its signature, and in its sample a field moves 1,900,000 times."""
    _vmlinux(folder, _DATA, after=table([[RODATA + 8 & 0xFFFFFFFF] * 1_900_000, [], []]))
    _core(folder, [(1, 0, 0x3000000 + (at << 21), 1 << 16) for at in range(60_000)], b"\1" + _DATA.data[1:])
    return WITH_DUMP


def relocations_of_one_field(folder: Path) -> Sequence[str]:
    _vmlinux(folder, _DATA, after=table([[], [], [RODATA & 0xFFFFFFFF] * 1_900_000]))
    return *PREDICT, "--kaslr", "0x200000"


def a_string_table_of_gigabytes(folder: Path) -> Sequence[str]:
    """In a file with a hole."""
    _vmlinux(folder, *_symbols(10, b"\0f\0", 0))
    contents = bytearray((folder / "vmlinux").read_bytes())
    (start,) = struct.unpack_from("<Q", contents, 40)
    struct.pack_into("<Q", contents, start + 3 * 64 + 32, 4 << 30)
    with (folder / "vmlinux").open("wb") as file:
        file.write(contents)
        file.truncate(5 << 30)
    return PREDICT


ATTACKS: Sequence[Attack] = (
    many_symbols,
    symbols_that_share_a_name,
    sections_that_share_a_name,
    exports_that_share_a_name,
    kallsyms_that_expand,
    kallsyms_with_many_beginnings,
    a_map_of_one_line,
    a_map_of_many_lines,
    a_map_without_end,
    a_module_of_waiting_fields,
    notes_that_share_their_bytes,
    a_core_of_crumbs,
    more_segments_than_a_core_has,
    a_kernel_at_every_place,
    relocations_of_one_field,
    a_string_table_of_gigabytes,
)
