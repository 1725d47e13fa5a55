"""Small ELF files, made without a linker: kernels, modules, cores."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.kernel.test_kallsyms import BASE

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 1, 2, 3, 4, 8, 9
WRITE, ALLOC, EXEC = 1, 2, 4
LINKED, RELOCATABLE, CORE = 2, 1, 4

BANNER = b"Linux version 6.1.0-9-test (builder)\0"


class Part(NamedTuple):
    """A section; one with an address becomes a segment of a linked file, too."""

    name: str
    data: bytes
    address: int = 0
    flags: int = ALLOC
    type: int = PROGBITS
    link: int = 0
    info: int = 0
    entry: int = 0


class Format(NamedTuple):
    """What differs between the two widths."""

    header: str
    program: str
    section: str
    symbol: str
    machine: int


FORMATS = {
    32: Format("<16s2H5I6H", "<8I", "<10I", "<3I2BH", 3),
    64: Format("<16s2HI3QI6H", "<2I6Q", "<2I4Q2I2Q", "<I2BH2Q", 62),
}


def elf_file(bits: int, parts: Sequence[Part], kind: int = LINKED) -> bytes:
    """The file: header, segments, the parts' bytes, the sections, which begin with none and end with their names."""
    form, placed = FORMATS[bits], [part for part in parts if part.address and kind != RELOCATABLE]
    parts = [*parts, Part(".shstrtab", b"", flags=0, type=STRTAB)]
    names = b"\0" + b"".join(part.name.encode() + b"\0" for part in parts)
    parts[-1] = parts[-1]._replace(data=names)
    size, entry = struct.calcsize(form.header), struct.calcsize(form.program)
    at = size + entry * len(placed)
    segments, headers, body = b"", bytes(struct.calcsize(form.section)), b""
    for part in parts:
        body += bytes(-(at + len(body)) % 8)
        start, length = at + len(body), len(part.data)
        if part in placed:
            segments += _segment(bits, part, start)
        name = names.index(part.name.encode() + b"\0")
        place = part.address, start, length, part.link, part.info, 8, part.entry
        headers += struct.pack(form.section, name, part.type, part.flags, *place)
        body += b"" if part.type == NOBITS else part.data
    body += bytes(-(at + len(body)) % 8)
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1])
    row = ident, kind, form.machine, 1, 0, size, at + len(body), 0, size, entry, len(placed)
    width = struct.calcsize(form.section)
    return struct.pack(form.header, *row, width, len(parts) + 1, len(parts)) + segments + body + headers


def _segment(bits: int, part: Part, start: int) -> bytes:
    flags, size = 4 | bool(part.flags & EXEC) | (part.flags & WRITE) << 1, len(part.data)
    in_file = 0 if part.type == NOBITS else size
    places = start, part.address, 0, in_file, size
    row = (1, *places, flags, 8) if bits == 32 else (1, flags, *places, 8)
    return struct.pack(FORMATS[bits].program, *row)


def symbol_table(bits: int, symbols: Mapping[str, tuple[int, int]], strings: int) -> list[Part]:
    """`.symtab` and `.strtab`, which is section number `strings`; symbols by name: value and section."""
    names, rows = b"\0", bytes(struct.calcsize(FORMATS[bits].symbol))
    for name, (value, section) in symbols.items():
        row = (len(names), value, 0, 0x12, 0, section) if bits == 32 else (len(names), 0x12, 0, section, value, 0)
        rows += struct.pack(FORMATS[bits].symbol, *row)
        names += name.encode() + b"\0"
    entry = struct.calcsize(FORMATS[bits].symbol)
    table = Part(".symtab", rows, flags=0, type=SYMTAB, link=strings, info=1, entry=entry)
    return [table, Part(".strtab", names, flags=0, type=STRTAB)]


def kernel(bits: int, symbols: bool = True) -> bytes:
    """A vmlinux of a few hundred bytes, with an export."""
    base = BASE[bits]
    parts = [
        Part(".text", b"\xf0\x90\xe8\0\0\0\0\xc3", base, ALLOC | EXEC),
        Part(".rodata", BANNER, base + 64),
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
