"""Compressed streams as attackers make them, with right checksums: bombs, headers that ask for much, many streams."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import lz4.block

from pvspec.kernel import open_kernel
from tests.fuzz.elf import kernel
from tests.fuzz.files import fails_well, written
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.kernel.test_containers import PACKERS, bzimage, lz4_legacy

CODECS: dict[str, Callable[[bytes], bytes]] = {**PACKERS, "gzip": lambda data: gzip.compress(data, mtime=0)}
_ZSTD_LARGEST = 1 << 17  # bytes of a block
_MAGICS = {
    "gzip": b"\x1f\x8b\x08",
    "xz": b"\xfd7zXZ\0",
    "lzma": b"\x5d\0\0",
    "bzip2": b"BZh9",
    "zstd": b"\x28\xb5\x2f\xfd",
}
_MAGICS["lz4"] = b"\x02\x21\x4c\x18"


@cache
def _bomb(codec: str, size: int) -> bytes:
    """An ELF file that begins well and goes on for long."""
    return CODECS[codec](kernel(64) + bytes(size))


def repeated(start: bytes, size: int) -> bytes:
    """So many bytes, the first of which are these, as a frame of zstd in a few kilobytes: what costs most of all."""
    many = (_ZSTD_LARGEST << 3 | 2).to_bytes(3, "little") + b"\0"  # a block: a byte so many times
    last = b"\1\0\0"
    return (
        b"\x28\xb5\x2f\xfd\0\x58"
        + (len(start) << 3).to_bytes(3, "little")
        + start
        + many * (size // _ZSTD_LARGEST)
        + last
    )


def packed(h: Hostile, codec: str, data: bytes) -> bytes:
    """The data in a stream of that codec, or more of them, or something that seems to be one."""
    if h.bomb and h.random.random() < 0.02:
        return repeated(data[:_ZSTD_LARGEST], h.random.choice((100, 250, 500)) << 20)
    if h.bomb and h.random.random() < 0.3:
        return _bomb(codec, h.random.choice((1 << 20, 4 << 20, 16 << 20)))
    stream = _HEADERS[codec](h, data) if h.random.random() < 0.6 else CODECS[codec](data)
    if h.happens():
        stream = stream * 2 + h.random.choice((b"", bytes(4), bytes(7), b"junk"))
    return h.data(stream) if h.random.random() < 0.3 else stream


def _gzip(h: Hostile, data: bytes) -> bytes:
    flags = h.number(0, 8)
    header = b"\x1f\x8b\x08" + bytes([flags]) + struct.pack("<IBB", h.number(0, 32), 0, 3)
    header += struct.pack("<H", h.number(2, 16)) + b"xx" if flags & 4 else b""
    header += b"n" * h.times(3, 1 << 17) + b"\0" if flags & 8 else b""
    header += b"c" * h.times(3, 1 << 17) + b"\0" if flags & 16 else b""
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) if flags & 2 else b""
    deflate = zlib.compressobj(h.random.choice((0, 1, 9)), zlib.DEFLATED, -15)
    body = b"".join(b"\0\0\0\xff\xff" for _ in range(h.times(0, 50_000)))  # blocks of nothing
    body += deflate.compress(data) + deflate.flush()
    return header + body + struct.pack("<II", h.number(zlib.crc32(data), 32), h.number(len(data), 32))


def _vli(number: int) -> bytes:
    made = b""
    while number > 127 and len(made) < 9:
        made += bytes([number & 127 | 128])
        number >>= 7
    return made + bytes([number & 127])


def _xz(h: Hostile, data: bytes) -> bytes:
    """A stream of one block, with what its header says of filters and sizes."""
    dictionary = h.one(16, tuple(range(0, 64)))
    filters = [b"\x21\x01" + bytes([dictionary])]
    if h.happens(2):
        filters.insert(
            0, h.random.choice((b"\x04\x00", b"\x03\x01\x00", b"\x03\x01\xff", b"\x21\x01\x10", b"\x7f\x00"))
        )
    raw = lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}])
    flags = len(filters) - 1
    sizes = b""
    if h.happens(3):
        flags, sizes = flags | 0xC0, _vli(h.number(len(raw), 63)) + _vli(h.number(len(data), 63))
    header = bytes([h.number(flags, 8)]) + sizes + b"".join(filters)
    header += bytes(-(len(header) + 1) % 4)
    header = bytes([h.number((len(header) + 1) // 4, 8)]) + header
    block = header + struct.pack("<I", zlib.crc32(header)) + raw
    unpadded = len(block) + 4
    block += bytes(-len(block) % 4) + struct.pack("<I", h.number(zlib.crc32(data), 32))
    index = b"\0" + _vli(h.number(1, 63)) + _vli(h.number(unpadded, 63)) + _vli(h.number(len(data), 63))
    index += bytes(-len(index) % 4)
    index += struct.pack("<I", zlib.crc32(index))
    kind = bytes([0, h.number(1, 8)])
    backward = struct.pack("<I", h.number(len(index) // 4 - 1, 32)) + kind
    start = b"\xfd7zXZ\0" + kind + struct.pack("<I", zlib.crc32(kind))
    return start + block + index + struct.pack("<I", zlib.crc32(backward)) + backward + b"YZ"


def _lzma(h: Hostile, data: bytes) -> bytes:
    stream = lzma.compress(data, lzma.FORMAT_ALONE)
    properties, dictionary, size = struct.unpack_from("<BIq", stream)
    header = struct.pack("<BIQ", h.number(properties, 8), h.number(dictionary, 32), h.number(size % (1 << 64), 64))
    return header + stream[13:]


def _bzip2(h: Hostile, data: bytes) -> bytes:
    stream = bytearray(bz2.compress(data, h.random.randrange(1, 10)))
    stream[3] = h.number(stream[3], 8)
    if h.happens():
        at = h.random.randrange(4, 30)
        stream[at : at + 3] = h.number(0, 24).to_bytes(3, "big")
    return bytes(stream) * max(1, h.times(1, 500))


def _zstd(h: Hostile, data: bytes) -> bytes:
    """A frame written out: its header, blocks as they are or of one byte that is repeated; frames to be skipped."""
    frame = b"".join(
        struct.pack("<II", 0x184D2A50, size) + bytes(size)
        for size in [h.random.choice((0, 1, 100))] * h.times(0, 20_000)
    )
    window, large = h.number(0x50, 8), h.happens(3)
    frame += b"\x28\xb5\x2f\xfd" + bytes([h.number(0xC0 if large else 0, 8), window])
    frame += struct.pack("<Q", h.number(len(data), 64)) if large else b""
    count = h.times(1, 100_000)
    for _ in range(count if count > 1 else 0):
        frame += (h.random.choice((1, 1 << 17)) << 3 | 2).to_bytes(3, "little") + b"\0"
        if len(frame) > 1 << 17:
            break
    size = h.number(len(data), 21)
    return frame + (size << 3 | h.one(0, (1, 2, 3)) << 1 | 1).to_bytes(3, "little") + data


def _lz4(h: Hostile, data: bytes) -> bytes:
    stream = b"\x02\x21\x4c\x18"
    blocks = [data[at : at + 4096] for at in range(0, len(data), 4096)] + [bytes(8 << 20)] * h.times(0, 8) * h.happens(
        3
    )
    for block in h.shuffled(blocks):
        body = lz4.block.compress(block, store_size=False)
        stream += struct.pack("<I", h.number(len(body), 32)) + h.data(body)
        if h.bomb:
            stream += (struct.pack("<I", 1) + b"\0") * h.times(0, 50_000)  # blocks of nothing
    return stream


_HEADERS: dict[str, Callable[[Hostile, bytes], bytes]] = {
    **{"gzip": _gzip, "xz": _xz, "lzma": _lzma, "bzip2": _bzip2, "zstd": _zstd, "lz4": _lz4}
}


def _open(path: Path) -> None:
    open_kernel(path)


def _image(data: bytes) -> str:
    return fails_well(written(data), _open)


def made(codec: str, h: Hostile) -> bytes:
    """A bzImage, with a payload or many places where one might be; or the stream alone."""
    stream = packed(h, codec, kernel(h.one(64, (32,))))
    if h.random.random() < 0.3:
        return stream
    if h.random.random() < 0.3:
        return bzimage(
            (_MAGICS[codec] * h.times(0, 50)) + (stream + b"junk") * h.random.choice((1, 2, 16)), version=0x203
        )
    return bzimage(stream + (b"" if codec == "gzip" else struct.pack("<I", len(kernel(64)))))


def _header(h: Hostile) -> bytes:
    """A bzImage whose setup header's fields are anything; the payload is not compressed, or is."""
    payload = h.one(
        kernel(64), (gzip.compress(kernel(64), mtime=0), lz4_legacy(kernel(32)), b"", b"\x89LZO\0\r\n\x1a\n")
    )
    file = bytearray(bzimage(payload))
    for at, size in ((0x1F1, 1), (0x202, 4), (0x206, 2), (0x230, 4), (0x234, 1), (0x235, 1), (0x248, 4), (0x24C, 4)):
        value = h.number(int.from_bytes(file[at : at + size], "little"), 8 * size)
        file[at : at + size] = value.to_bytes(size, "little")
    return h.data(bytes(file))


def _seeds(codec: str) -> Iterator[bytes]:
    for bits in (32, 64):
        yield bzimage(CODECS[codec](kernel(bits)) + struct.pack("<I", len(kernel(bits))))
    yield bzimage(CODECS[codec](kernel(64)), version=0x203)
    yield CODECS[codec](kernel(64))


def targets() -> Iterator[Target]:
    for codec in CODECS:
        yield Target(codec, False, partial(_seeds, codec), tuple(_MAGICS.values()), _image, partial(made, codec))
    headers = lambda: [bzimage(kernel(64)), bzimage(gzip.compress(kernel(64), mtime=0), version=0x203)]  # noqa: E731
    yield Target("bzimage", False, headers, (b"HdrS", b"\x08\x02", bytes(4), b"\xff" * 4), _image, _header)
