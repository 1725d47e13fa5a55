"""Where symbols come from, as attackers make it: kallsyms, System.map, /proc/kallsyms, addresses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, pairwise

from pvspec.kernel import ImageError, KernelImage, open_kernel
from tests.fuzz.cell import expected
from tests.fuzz.elf import ALLOC, EXEC, Part, elf_file, kernel
from tests.fuzz.executables import broken
from tests.fuzz.files import written
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.kernel.test_containers import package, tar
from tests.kernel.test_kallsyms import BASE, LAYOUTS, TOKENS, encode

_MAGICS = (b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"!<arch>\n", b"\xff\xff\xff\xff", bytes(8))


def _tables() -> Iterator[bytes]:
    entries = [(0, "T", "_text"), *((at * 16, "t", f"f{at}") for at in range(1, 20))]
    for bits, order, addresses in LAYOUTS:
        image, _ = encode(entries, bits, order, addresses)
        yield bytes(image[4096 - 64 : -(1 << 17)])


def _kallsyms(data: bytes) -> str:
    """As the read-only data of a kernel that has no other symbols."""
    said = ""
    for bits in (32, 64):
        text = Part(".text", b"\xc3", BASE[bits], ALLOC | EXEC)
        image = open_kernel(elf_file(bits, [text, Part(".rodata", data, BASE[bits] + 64)]))
        try:
            symbols = list(image.symbols)
        except ImageError as error:
            assert str(error).startswith("<image>: ")
            said += expected(error)
        else:
            assert all(before.address <= after.address for before, after in pairwise(symbols))
            said += f"found {'many' if symbols else 'none'}"
    return said


def _made(h: Hostile) -> bytes:
    """Tables of symbols: names made of tokens, tokens of any length, numbers that are next to right."""
    bits, order, _ = h.random.choice(LAYOUTS)
    word, count = ("<Q", "<I")[bits == 32], h.times(20, 100_000)
    tokens = [
        h.one(token.encode(), (b"", b"a" * h.times(2, 511), b"t" * h.times(1, 30_000), b"\xff", b"\n"))
        for token in TOKENS
    ]
    if h.bomb and h.random.random() < 0.5:
        tokens[h.random.randrange(58, 256)] = b"n" * h.random.choice((100, 511, 512, 20_000))
    longest = max(range(256), key=lambda at: len(tokens[at]))
    name = bytes([h.random.choice((longest, ord("t"), ord("x")))]) * h.random.choice((1, 4, 126, 127, 500))
    length = len(name) + 1
    prefix = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    row = prefix + b"t" + name
    rows = [bytes([h.number(row[0], 8)]) + row[1:] for _ in range(min(count, 2000))]
    if count > 2000:
        rows += [row] * min(count, (1 << 18) // len(row))
    starts = list(accumulate(map(len, rows), initial=0))
    markers = b"".join(struct.pack("<I", h.number(at, 32)) for at in starts[:-1:256])
    base = h.number(BASE[bits], bits)
    offsets = b"".join(struct.pack("<I", h.number(16 * at, 32)) for at in range(len(rows)))
    addresses = [offsets, struct.pack(word, base)]
    table = [struct.pack("<I", h.number(len(rows), 32)), b"".join(rows), markers]
    index = accumulate((len(token) + 1 for token in tokens[:-1]), initial=0)
    ends = [b"".join(token + b"\0" for token in tokens), b"".join(struct.pack("<H", h.number(at, 16)) for at in index)]
    seqs = bytes(3 * len(rows))
    parts = {
        "old": [*addresses, *table, *ends],
        "seqs": [*addresses, *table, seqs, *ends],
        "new": [*table, *ends, *addresses, seqs],
    }[order]
    made = bytes(64) + b"".join(part + bytes(-len(part) % (bits // 8)) for part in h.shuffled(parts))
    if h.bomb and h.random.random() < 0.2:  # many places that begin like a token table, or like names
        made += h.random.choice(
            (b"".join(b"%d\0" % digit for digit in range(10)), struct.pack("<II", 20, 0x02740274), ends[0] + ends[1])
        ) * h.times(1, 5000)
    return made + bytes(h.times(64, 1 << 18))


def _maps() -> Iterator[bytes]:
    yield b"c1000000 T _text\nc1000010 t f\t[module]\n00000000 A zero\n         U none\n"
    yield b"".join(b"%016x T f%d\n" % (BASE[64] + at, at) for at in range(20))
    yield kernel(32)
    yield package(tar(b"c1000000 T _text\n", name="./usr/lib/debug/boot/System.map-6.1"))


def made_map(h: Hostile) -> bytes:
    """Lines of a System.map, or an ELF file."""
    if h.random.random() < 0.2:
        return broken(h, kernel(64), 64)
    return b"".join(_line(h, at) for at in range(min(h.times(20, 50_000), 20_000)))


def _line(h: Hostile, at: int) -> bytes:
    address = h.one(
        b"%016x" % (BASE[64] + at),
        (b"", b"-1", b"f" * 17, b"f" * 5000, b"0x10", b"zz", b"c1000000", "\u0661".encode() * 8),
    )
    kind, name = (
        h.one(b"T", (b"", b"TT", b"\xff", b"A", b"U", b"\t")),
        h.one(b"f%d" % at, (b"", b"x" * 5000, b"\xff\xfe", b"\x1b[31m", b"a b")),
    )
    return (
        address
        + b" "
        + kind
        + b" "
        + name
        + h.one(b"\n", (b"\r\n", b"\t[m]\n", b"\x85", b"", b"\n" * h.times(2, 5000), "\u2028".encode()))
    )


def given(data: bytes) -> str:
    """As the symbols of a kernel; an error names the file."""
    path = written(data, "symbols")
    try:
        for symbol in open_kernel(kernel(64), symbols=path).symbols:
            assert 0 <= symbol.address < 1 << 64
            assert symbol.name
            assert len(symbol.kind) == 1
    except ImageError as error:
        assert str(path) in str(error), error
        return expected(error)
    return ""


# ---- an address that a user writes


@cache
def _running() -> KernelImage:
    return open_kernel(written(kernel(64), "vmlinux"))


def _addresses() -> Iterator[bytes]:
    yield from (b"_text+0x1/0x8", b"0xffffffff81000000", b"ffffffff81000000+8", b"18446744071578853590", b"_prntk")


def _number(h: Hostile) -> bytes:
    return (b"%d" if h.random.random() < 0.5 else b"0x%x") % abs(h.unbounded(8))


def _text(h: Hostile) -> bytes:
    names = b"_text", b"_printk", b"0x10", b"ffffffff81000000", b"_tex" * h.times(1, 10_000), b"9" * h.times(5, 9000)
    parts = [h.random.choice(names), *(_number(h) for _ in range(h.times(1, 5)))]
    return b"+".join(parts) + h.one(b"", (b"/" + _number(h), b"+", b"/", b"\n", b"\x1b[0m"))


def _address(data: bytes) -> str:
    try:
        address = _running().symbols.parse_address(data.decode("utf-8", "replace"))
    except ImageError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        return expected(error)
    assert 0 <= address < 1 << 64
    return ""


def targets() -> Iterator[Target]:
    yield Target("kallsyms", False, _tables, (b"0\x001\x002\0", b"t", b"\0", b"\x7f", b"\x80"), _kallsyms, _made)
    words = b" T ", b"\n", b"ffffffff", b"_text", b"\t[", b"\xff", *_MAGICS
    yield Target("system-map", True, _maps, words, given, made_map)
    yield Target("address", True, _addresses, (b"+", b"/", b"0x", b"_text", b"ffffffff", b"9" * 30), _address, _text)
