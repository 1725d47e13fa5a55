"""Archives as attackers make them: ar, tar with each of its extensions, and Debian packages of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pvspec.kernel import open_kernel
from tests.fuzz.compression import CODECS, packed, repeated
from tests.fuzz.elf import kernel
from tests.fuzz.files import fails_well, written
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.fuzz.symbols import given
from tests.kernel.test_containers import bzimage, package, tar

_KERNEL, _MAP = b"./boot/vmlinuz-6.1", b"./usr/lib/debug/boot/System.map-6.1"
_TYPES = tuple(b"01234567LKxgSDMNVAX\0 ")
_BLOCK = 512
_PAX = (
    *(b"path", b"size", b"linkpath", b"hdrcharset", b"mtime", b"uid", b"GNU.sparse.size", b"GNU.sparse.map"),
    *(b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.realsize", b"GNU.sparse.name", b"GNU.sparse.offset"),
)
_VALUES = (
    b"",
    b"6.1",
    b"0,1,2,3",
    b"-1",
    b"9" * 50,
    b"1" + b"0" * 5000,
    b"BINARY",
    b"\xff\xfe",
    b"1e400",
    b"nan",
    b"\n",
)


def ar(h: Hostile, members: list[tuple[bytes, bytes]]) -> bytes:
    """An ar archive of named members."""
    file = bytearray(h.one(b"!<arch>\n", (b"!<thin>\n", b"!<arch>", b"")))
    for name, data in h.shuffled(members) * max(1, h.times(1, 3)):
        file += h.one(name, (b"//", b"/0", b"#1/20", b"/", b"data.tar", b"x" * 16))[:16].ljust(16)
        file += b"".join(h.decimal(value, width) for value, width in ((0, 12), (0, 6), (0, 6), (100644, 8)))
        file += h.decimal(len(data), 10) + h.one(b"`\n", (b"`", b"\n`", bytes(2)))
        file += data + h.one(b"\n", (b"", b"\0")) * (len(data) % 2)
    return bytes(file)


def tar_header(h: Hostile, name: bytes, size: int, kind: int) -> bytes:
    """A block whose checksum is right, mostly."""
    fields = (
        h.decimal(0o644, 8, True),
        h.decimal(0, 8, True),
        h.decimal(0, 8, True),
        _size(h, size),
        h.decimal(0, 12, True),
    )
    prefix = h.one(b"", (b"boot", b"x" * 155, b"../..", b"/"))
    rest = bytes([h.one(kind, _TYPES)]) + bytes(100) + h.one(b"ustar\x0000", (b"ustar  \0", bytes(8), b"ustar\0zz"))
    rest += (
        h.data(bytes(64))[:64].ljust(64, b"\0")
        + h.decimal(0, 8, True)
        + h.decimal(0, 8, True)
        + prefix.ljust(155, b"\0")
    )
    before = name[:100].ljust(100, b"\0") + b"".join(fields)
    total = sum(before + rest) + 8 * 32
    checksum = b"%06o\0 " % h.number(total, 18)
    return (before + checksum + rest).ljust(_BLOCK, b"\0")[:_BLOCK]


def _size(h: Hostile, size: int) -> bytes:
    """In octal, or as GNU writes large ones: the number itself, in 11 bytes."""
    if not h.happens(2):
        return b"%011o\0" % h.number(size, 33)
    value = h.unbounded(size)
    binary = (value % (1 << 95)).to_bytes(12, "big")
    return h.random.choice((b"\x80" + binary[1:], b"\xff" + binary[1:], h.decimal(size, 12, True)))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)


def tar_entry(h: Hostile, name: bytes, data: bytes) -> bytes:
    """An entry, and what may be said of it before it: long names, pax records."""
    before = b""
    for _ in range(h.times(0, 2000) if h.bomb else h.happens(3)):
        kind = h.random.choice(b"LKxg")
        said = _records(h) if kind in b"xg" else name + bytes(h.times(1, 1 << 16))
        before += tar_header(h, b"././@LongLink", len(said), kind) + _padded(said)
        if len(before) > 1 << 18:
            break
    return before + tar_header(h, name, len(data), h.one(ord("0"), _TYPES)) + h.one(_padded(data), (data, b""))


def _records(h: Hostile) -> bytes:
    """Pax records: their length, with itself, a key and a value."""
    records = b""
    for _ in range(h.times(2, 5000)):
        key = h.random.choice(_PAX)
        value = h.random.choice((*_VALUES, _KERNEL, b"%d" % h.unbounded(100)))
        size = len(key) + len(value) + 3
        size += len(str(size + len(str(size))))
        records += b"%d %s=%s\n" % (h.unbounded(size), key, value)
    return records


def tar_file(h: Hostile, entries: list[tuple[bytes, bytes]]) -> bytes:
    """A tar archive."""
    filler = h.times(1, 5000)
    file = b"".join(tar_header(h, b"./usr/%d" % at, 0, ord("0")) for at in range(min(filler, 1000)))
    file += b"".join(
        tar_entry(h, h.one(name, (b"x" * 100, b"", b"boot//../" + name)), h.data(data))
        for name, data in h.shuffled(entries)
    )
    return file + bytes(_BLOCK * h.one(2, (0, 1, 3)))


def _contents(h: Hostile) -> bytes:
    return bzimage(kernel(h.one(64, (32,)))) if h.random.random() < 0.7 else b"c1000000 T _text\n" * h.times(2, 3000)


def _entries(h: Hostile) -> list[tuple[bytes, bytes]]:
    return [(b"./usr/readme", b"text"), (_KERNEL, _contents(h)), (_MAP, b"c1000000 T _text\n")]


def _ar(h: Hostile) -> bytes:
    data = tar(bzimage(kernel(64)))
    return ar(h, [(b"debian-binary", b"2.0\n"), (b"control.tar", b"odd"), (b"data.tar", h.data(data))])


def _tar(h: Hostile) -> bytes:
    return package(tar_file(h, _entries(h)))


def made(h: Hostile) -> bytes:
    """A package of Debian's, with a compressed archive in it."""
    if h.bomb and h.random.random() < 0.03:
        data = _nested(h)
    else:
        codec = h.random.choice(tuple(CODECS))
        data = packed(h, codec, tar_file(h, _entries(h)))
    name = b"data.tar." + h.random.choice(tuple(CODECS)).encode()
    return ar(h, [(b"debian-binary", h.data(b"2.0\n")), (b"control.tar.xz", h.data(b"odd")), (name, data)])


def _nested(h: Hostile) -> bytes:
    """Much in much: an archive that unpacks to hundreds of megabytes, in it a kernel that does so again."""
    size = h.random.choice((100, 250, 499)) << 20
    image = bzimage(repeated(kernel(64), size) + bytes(4))
    return repeated(tar_header(h, _KERNEL, len(image) + size, ord("0")) + image, size + (1 << 20))


def _use(path: Path) -> None:
    open_kernel(path)


def _package(data: bytes) -> str:
    """As a kernel, and as symbols of one."""
    return fails_well(written(data, "kernel.deb"), _use) + given(data)


def _seeds(compressed: bool) -> Iterator[bytes]:
    yield package(tar(bzimage(kernel(64))))
    yield package(tar(b"c1000000 T _text\n", name=_MAP.decode()))
    if compressed:
        yield from (package(pack(tar(bzimage(kernel(64)))), f".{name}") for name, pack in CODECS.items())


def targets() -> Iterator[Target]:
    builders: dict[str, Callable[[Hostile], bytes]] = {"ar": _ar, "tar": _tar, "deb": made}
    words = b"`\n", b"ustar", b"!<arch>\n", b"data.tar", b"././@LongLink", b"\x80" + bytes(11), b"20 size=", _KERNEL
    for name, build in builders.items():
        yield Target(name, False, partial(_seeds, name == "deb"), words, _package, build)
