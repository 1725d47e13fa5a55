"""Decompression with a bound: the formats in which kernels, modules and Debian packages come.

A format is recognised by its magic, never by a file name. A third-party codec is imported when it is first needed.
"""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol, cast

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.words import integers

MAX_OUTPUT = 512 << 20
"""Bytes that one compressed stream may unpack to; more is treated as a decompression bomb."""

_CHUNK = 1 << 20
_LZMA_MEMORY = 512 << 20
_LZ4_BLOCK = 8 << 20
_ZSTD_BITE = 256
_SIZE = struct.Struct("<I")


def _gzip(source: BinaryIO) -> Iterator[bytes]:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while not decoder.eof:
        feed = decoder.unconsumed_tail or source.read(_CHUNK)
        chunk = decoder.decompress(feed, _CHUNK)
        if not feed and not chunk:
            raise EOFError("it ends early")
        yield chunk


def _incremental(decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor, source: BinaryIO) -> Iterator[bytes]:
    while not decoder.eof:
        feed = source.read(_CHUNK) if decoder.needs_input else b""
        chunk = decoder.decompress(feed, _CHUNK)
        if not feed and not chunk:
            raise EOFError("it ends early")
        yield chunk


def _bzip2(source: BinaryIO) -> Iterator[bytes]:
    return _incremental(bz2.BZ2Decompressor(), source)


def _lzma(source: BinaryIO) -> Iterator[bytes]:
    return _incremental(lzma.LZMADecompressor(memlimit=_LZMA_MEMORY), source)


def _zstd(source: BinaryIO) -> Iterator[bytes]:
    """In small pieces: a decoder is unbounded, and a block of 4 bytes may unpack to 128 KiB."""
    import zstandard

    decoder = zstandard.ZstdDecompressor().decompressobj()
    while feed := source.read(_CHUNK):
        for at in range(0, len(feed), _ZSTD_BITE):
            yield decoder.decompress(feed[at : at + _ZSTD_BITE])
            if decoder.eof:
                return
    raise EOFError("it ends early")


class _Decompress(Protocol):
    """lz4 lacks type annotations."""

    def __call__(self, source: bytes, /, *, uncompressed_size: int) -> bytes: ...


def _lz4_legacy(source: BinaryIO) -> Iterator[bytes]:
    """The "legacy" frame, `lz4 -l`, which kernels use: the magic, then blocks of {u32 size, data} to the end."""
    from lz4 import block as lz4_block

    decompress = cast(_Decompress, lz4_block.decompress)
    source.read(4)
    while header := source.read(4):
        (size,) = integers(_SIZE, header)
        block = source.read(size) if size else b""
        if len(block) < size or not size:
            raise EOFError("it ends early")
        yield decompress(block, uncompressed_size=_LZ4_BLOCK)


def _lzo(source: BinaryIO) -> Iterator[bytes]:
    raise ImageError("LZO compression is not supported: unpack the vmlinux with lzop first")


class Codec(NamedTuple):
    """A compression format: its name, its magic, and how to stream it."""

    name: str
    magic: bytes
    stream: Callable[[BinaryIO], Iterator[bytes]]


CODECS = (
    Codec("gzip", b"\x1f\x8b\x08", _gzip),
    Codec("xz", b"\xfd7zXZ\0", _lzma),
    Codec("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    Codec("lz4", b"\x02\x21\x4c\x18", _lz4_legacy),
    Codec("bzip2", b"BZh", _bzip2),
    Codec("lzma", b"\x5d\0\0", _lzma),
    Codec("lzo", b"\x89LZO\0\r\n\x1a\n", _lzo),
)
"""Those that arch/x86/boot/compressed of Linux 6.12 can choose, Debian's packages and modules among them."""


def codec_of(start: bytes) -> Codec | None:
    """The codec whose magic these first bytes of a file are, if any."""
    return next((codec for codec in CODECS if start.startswith(codec.magic)), None)


def decompressed(codec: Codec, source: BinaryIO, limit: int = MAX_OUTPUT) -> Iterator[bytes]:
    """What a stream unpacks to, in non-empty pieces. Data after its end are ignored.

    Raises ImageError if the data is damaged or truncated, or unpacks to more than `limit` bytes.
    """
    total = 0
    try:
        for chunk in filter(None, codec.stream(source)):
            total += len(chunk)
            if total > limit:
                raise ImageError(f"{codec.name} data unpacks to more than {limit >> 20} MiB")
            yield chunk
    except ImageError:
        raise
    except Exception as error:  # each codec has exceptions of its own, without a common base class
        raise ImageError(f"{codec.name} data is damaged: {error}") from error


def unpack(codec: Codec, source: BinaryIO) -> bytes:
    """Everything that a stream unpacks to; raises ImageError as `decompressed` does."""
    return b"".join(decompressed(codec, source))


class ChunkReader(io.RawIOBase):
    """A file to read from, made of non-empty pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """`chunks` is consumed once."""
        self._chunks = chunks
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        """Always True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any writable buffer
        """Fill `buffer` from the next piece; returns the bytes written, 0 at the end."""
        self._pending = self._pending or memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count
