"""ELF files as attackers make them: kernels, modules, relocation tables; every field of every header, and very many."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from pvspec.kernel import open_kernel
from tests.fuzz.elf import kernel, module
from tests.fuzz.files import fails_well, written
from tests.fuzz.hostile import LARGEST, Hostile
from tests.fuzz.loop import Target
from tests.kernel.test_containers import bzimage
from tests.kernel.test_kallsyms import BASE

_NAMES = (b".text", b".data", b"__ksymtab", b".symtab", b".rodata", b".init", b".modinfo", b"\x7fELF", b"HdrS")

_Fields = dict[str, tuple[int, int]]
"""Names of fields: offset and size in bytes."""


def _fields(names: str, form: str) -> _Fields:
    made, at = {}, 0
    for name, code in zip(names.split(), form, strict=True):
        size = struct.calcsize(f"<{code}")
        made[name] = at, size
        at += size
    return made


_HEADER = "type machine version entry phoff shoff flags ehsize phentsize phnum shentsize shnum shstrndx"
_SECTION = "name type flags addr offset size link info align entsize"
_HEADERS = {32: _fields(_HEADER, "HHIIIIIHHHHHH"), 64: _fields(_HEADER, "HHIQQQIHHHHHH")}
_SEGMENTS = {
    32: _fields("type offset vaddr paddr filesz memsz flags align", "IIIIIIII"),
    64: _fields("type flags offset vaddr paddr filesz memsz align", "IIQQQQQQ"),
}
_SECTIONS = {32: _fields(_SECTION, "IIIIIIIIII"), 64: _fields(_SECTION, "IIQQQQIIQQ")}
_SYMBOLS = {
    32: _fields("name value size info other shndx", "IIIBBH"),
    64: _fields("name info other shndx value size", "IBBHQQ"),
}
_RELOCATIONS = {32: _fields("offset info", "II"), 64: _fields("offset info addend", "QQQ")}


def _get(data: bytes | bytearray, at: int, fields: Mapping[str, tuple[int, int]], name: str) -> int:
    offset, size = fields[name]
    return int.from_bytes(data[at + offset : at + offset + size], "little")


def _set(data: bytearray, at: int, fields: Mapping[str, tuple[int, int]], name: str, value: int) -> None:
    offset, size = fields[name]
    data[at + offset : at + offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


class _Image:
    """A file whose headers are found, broken, and multiplied."""

    def __init__(self, h: Hostile, data: bytes, bits: int) -> None:
        self.h, self.data, self.bits = h, bytearray(data), bits
        self.header = _HEADERS[bits]

    def _of_header(self, name: str) -> int:
        return _get(self.data, 16, self.header, name)

    def _rows(self, what: str) -> tuple[int, int, int]:
        """Offset, size of each, and count of a header table."""
        start, size, count = {"ph": ("phoff", "phentsize", "phnum"), "sh": ("shoff", "shentsize", "shnum")}[what]
        return self._of_header(start), self._of_header(size), self._of_header(count)

    def _break(self, at: int, fields: Mapping[str, tuple[int, int]], rate: float = 1) -> None:
        for name, (offset, size) in fields.items():
            if self.h.happens(rate):
                old = int.from_bytes(self.data[at + offset : at + offset + size], "little")
                near = self.h.random.choice(self._interesting())
                _set(
                    self.data, at, fields, name, self.h.random.choice((near, self.h.number(old, 8 * size), near + old))
                )

    def _interesting(self) -> tuple[int, ...]:
        base = BASE[self.bits]
        return (
            0,
            1,
            2,
            3,
            4,
            8,
            9,
            11,
            base,
            base + 64,
            base - 4096,
            len(self.data),
            len(self.data) - 8,
            self._of_header("shoff"),
            1 << 20,
            (192 << 20) - 1,
            (1 << 31) - 1,
            (1 << 32) - 1,
            (1 << 63),
            (1 << 64) - 8,
        )

    def multiplied(self) -> None:
        """Many headers, each a copy of one there is: they say the same range, or ranges in a row."""
        h = self.h
        what = h.random.choice(("ph", "sh", "sh"))
        start, size, count = self._rows(what)
        if not count:
            return
        rows = bytes(self.data[start : start + size * count])
        chosen = h.random.randrange(count)
        row = bytearray(rows[chosen * size : chosen * size + size])
        times = min(h.times(3, 65_000), (LARGEST - len(self.data)) // size - count)
        fields = (_SEGMENTS if what == "ph" else _SECTIONS)[self.bits]
        offset, length, address = ("offset", "filesz", "vaddr") if what == "ph" else ("offset", "size", "addr")
        if h.random.random() < 0.5:  # each has all of the file
            _set(row, 0, fields, offset, 0)
            _set(row, 0, fields, length, len(self.data))
            if what == "ph":
                _set(row, 0, fields, "memsz", len(self.data))
        elif h.random.random() < 0.3:
            _set(row, 0, fields, length, h.random.choice((0, 1, 1 << 20)))
        step = h.random.choice((0, 0, _get(row, 0, fields, length)))
        more = bytearray()
        for number in range(max(times, 0)):
            _set(row, 0, fields, address, _get(row, 0, fields, address) + (step if number else 0))
            more += row
        _set(self.data, 16, self.header, "phoff" if what == "ph" else "shoff", len(self.data))
        _set(self.data, 16, self.header, "phnum" if what == "ph" else "shnum", count + max(times, 0))
        self.data += rows + more

    def grown(self) -> None:
        """A table of many records in place of a section: symbols with the longest names, relocations, exports."""
        h = self.h
        start, size, count = self._rows("sh")
        fields = _SECTIONS[self.bits]
        places = [start + size * number for number in range(count)]
        tables = [at for at in places if _get(self.data, at, fields, "type") in (2, 4, 9, 1)]
        if not tables:
            return
        at = h.random.choice(tables)
        offset, length = _get(self.data, at, fields, "offset"), _get(self.data, at, fields, "size")
        content = bytes(self.data[offset : offset + length])[: 1 << 12]
        times = h.times(2, 100_000)
        _set(self.data, at, fields, "offset", len(self.data))
        made = (content * times)[: LARGEST - len(self.data) - 8192]
        _set(self.data, at, fields, "size", len(made))
        self.data += made
        if h.happens(3) or h.bomb:  # the names of everything are long
            strings = [place for place in places if _get(self.data, place, fields, "type") == 3]
            for place in strings:
                _set(self.data, place, fields, "offset", len(self.data))
                _set(self.data, place, fields, "size", 8192)
            self.data += b"n" * h.random.choice((4094, 4095, 8000)) + bytes(100)

    def broken(self) -> bytes:
        """The file with its fields passed through."""
        h = self.h
        if h.bomb:
            self.grown()
        if h.bomb or h.happens():
            self.multiplied()
        self._break(16, self.header, 0.5)
        for what, fields in (("ph", _SEGMENTS[self.bits]), ("sh", _SECTIONS[self.bits])):
            start, size, count = self._rows(what)
            for number in range(min(count, 40)):
                if start + size * (number + 1) <= len(self.data):
                    self._break(start + size * number, fields, 0.5)
        self._records()
        return bytes(self.data[:LARGEST])

    def _records(self) -> None:
        """The rows of symbols and relocations."""
        start, size, count = self._rows("sh")
        fields = _SECTIONS[self.bits]
        for place in (start + size * number for number in range(min(count, 40))):
            rows = {2: _SYMBOLS, 4: _RELOCATIONS, 9: _RELOCATIONS}.get(_get(self.data, place, fields, "type"))
            if rows is not None and place + size <= len(self.data):
                offset, length = _get(self.data, place, fields, "offset"), _get(self.data, place, fields, "size")
                width = sum(field[1] for field in rows[self.bits].values())
                for at in range(offset, min(offset + length, offset + 20 * width, len(self.data) - width), width):
                    self._break(at, rows[self.bits], 0.5)


def broken(h: Hostile, data: bytes, bits: int) -> bytes:
    """An ELF file with some of its fields wrong, or very many of something."""
    return _Image(h, data, bits).broken()


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
    return fails_well(written(data), _use)


def _module(data: bytes) -> str:
    """Alone, and loaded by a kernel."""
    path = written(data, "module.ko")
    said = fails_well(path, _use)
    for bits in (32, 64):
        vmlinux = open_kernel(written(kernel(bits), f"vmlinux{bits}"))
        said += fails_well(path, partial(open_kernel, kernel=vmlinux, load_address=0x1000))
    return said


def _kernels() -> Iterator[bytes]:
    for bits in (32, 64):
        yield from (kernel(bits), kernel(bits, symbols=False))


def _made(build: Callable[[int], bytes], h: Hostile) -> bytes:
    bits = h.random.choice((32, 64))
    return broken(h, build(bits), bits)


# ---- what lies behind the ELF file, as vmlinux.relocs has it


def _relocations() -> Iterator[bytes]:
    for bits, lists in ((32, 1), (64, 2), (64, 3)):
        words = [
            word for part in range(lists) for word in (0, *(BASE[bits] + 8 * at & 0xFFFFFFFF for at in range(part + 2)))
        ]
        yield bytes([bits]) + struct.pack(f"<{len(words)}I", *words)


def _table(h: Hostile) -> bytes:
    bits = h.random.choice((32, 64))
    made = bytearray([bits])
    for _ in range(h.one(1 if bits == 32 else 3, (0, 1, 2, 3, 4, 1000))):
        made += bytes(4)
        word = h.number(BASE[bits] + 8, 32)
        made += b"".join(struct.pack("<I", h.number(word, 32)) for _ in range(h.times(4, 30_000)))
    return bytes(made)


def _relocated(data: bytes) -> str:
    """The first byte is the number of bits, or says 64."""
    bits = 32 if data[:1] == b" " else 64
    return fails_well(written(bzimage(kernel(bits) + data[1:])), _move)


def _move(path: Path) -> None:
    image = open_kernel(path)
    moved = image.moved(image.alignment)
    assert moved.base == image.base + image.alignment
    assert len(moved.memory) == len(image.memory)
    assert moved.symbols.address("_text") == moved.base


def targets() -> Iterator[Target]:
    yield Target("elf", False, _kernels, _NAMES, _image, partial(_made, kernel))
    modules = lambda: [module(32), module(64)]  # noqa: E731
    yield Target("module", False, modules, _NAMES, _module, partial(_made, module))
    words = bytes(4), b"\xff" * 4, b"\0\0\0\x81", b"\0\0\0\xc1"
    yield Target("relocations", False, _relocations, words, _relocated, _table)
