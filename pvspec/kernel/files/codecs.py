"""The compressions in which kernels, modules and Debian packages come, and what unpacking costs at most.

A format is recognised by its magic, never by a file name. A third-party codec is imported when it is first needed.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, cast

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.words import integers

MAX_WINDOW = 192 << 20
"""Bytes of memory that a stream's own dictionary or window may take while it is unpacked: the kernel's build asks for
at most 128 MiB. More is an error."""

_PIECE = 64 << 10  # bytes that are read at once: each stream's end copies what is left of them
_CHUNK = 1 << 20  # bytes that are unpacked at once
_ZSTD_BITE = 256
_LZ4_BLOCK = 8 << 20
_LZ4_PACKED = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16  # LZ4_compressBound
_LZ4_MAGIC = b"\x02\x21\x4c\x18"
_SIZE = struct.Struct("<I")


class Input(Protocol):
    """Compressed data, which are counted as they are read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, as many as `size` unless they end."""
        ...

    def begin(self) -> None:
        """Called for each of the streams that the data may consist of."""
        ...


class Codec(NamedTuple):
    """A compression format.

    `stream(data, several)` unpacks data in pieces of at most a few MiB, which may be empty; with `several`, all
    streams that follow each other, as pigz, pbzip2 and pzstd write them. What comes after them is ignored. It raises
    anything if the data are damaged.

    A byte read and a byte unpacked take at most so many nanoseconds, whoever made the data, and a byte read before as
    many are unpacked so many more: measured on the processor of which work.py speaks, with the costliest streams that
    could be made (tables for each few bytes, literals that cost nothing to write, matches far away).
    """

    name: str
    magic: bytes
    stream: Callable[[Input, bool], Iterator[bytes]]
    per_input: int
    per_output: int
    per_surplus: int = 0


class _Decoder(Protocol):
    """What bz2 and lzma offer."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _streams(magic: bytes, decoder_of: Callable[[], _Decoder], source: Input, several: bool) -> Iterator[bytes]:
    rest = source.read(_PIECE)
    while rest.startswith(magic):
        source.begin()
        decoder = decoder_of()
        yield decoder.decompress(rest, _CHUNK)
        while not decoder.eof:
            wanted = decoder.needs_input
            feed = source.read(_PIECE) if wanted else b""
            chunk = decoder.decompress(feed, _CHUNK)
            if wanted and not (feed or chunk or decoder.eof):
                raise EOFError("it ends early")
            yield chunk
        rest = decoder.unused_data if several else b""
        if several and len(rest) < len(magic):
            rest += source.read(_PIECE)


class _Gzip:
    """zlib's decoder, which hands back what it has not used."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


class _Zstd:
    """zstandard's decoder, which is unbounded: fed in small bites, since a block of 4 bytes may unpack to 128 KiB."""

    def __init__(self) -> None:
        import zstandard

        self._decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
        self._pending = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data + bytes(self._pending)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._pending = self._pending or memoryview(data)
        parts, size = [], 0
        while self._pending and size < max_length and not self.eof:
            parts.append(self._decoder.decompress(self._pending[:_ZSTD_BITE]))
            size += len(parts[-1])
            self._pending = self._pending[_ZSTD_BITE:]
        return b"".join(parts)


def _gzip(source: Input, several: bool) -> Iterator[bytes]:
    return _streams(b"\x1f\x8b", _Gzip, source, several)


def _bzip2(source: Input, several: bool) -> Iterator[bytes]:
    return _streams(b"BZh", bz2.BZ2Decompressor, source, several)


def _lzma(source: Input, several: bool) -> Iterator[bytes]:
    return _streams(b"\x5d\0\0", lambda: lzma.LZMADecompressor(memlimit=MAX_WINDOW), source, False)


def _xz(source: Input, several: bool) -> Iterator[bytes]:
    return _streams(b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(memlimit=MAX_WINDOW), source, several)


def _zstd(source: Input, several: bool) -> Iterator[bytes]:
    return _streams(b"\x28\xb5\x2f\xfd", _Zstd, source, several)


class _Decompress(Protocol):
    """lz4 lacks type annotations."""

    def __call__(self, source: bytes, /, *, uncompressed_size: int) -> bytes: ...


def _lz4_legacy(source: Input, several: bool) -> Iterator[bytes]:
    """The "legacy" frame, `lz4 -l`, which kernels use: the magic, then blocks of {u32 size, data} to the end."""
    from lz4 import block as lz4_block

    decompress = cast(_Decompress, lz4_block.decompress)
    source.read(len(_LZ4_MAGIC))
    while header := source.read(4):
        if header == _LZ4_MAGIC:  # another frame
            continue
        (size,) = integers(_SIZE, header)
        if size > _LZ4_PACKED:
            raise ValueError(f"a block of {size} bytes is longer than any")
        block = source.read(size) if size else b""
        if len(block) < size or not size:
            raise EOFError("it ends early")
        source.begin()
        yield decompress(block, uncompressed_size=_LZ4_BLOCK)


def _lzo(source: Input, several: bool) -> Iterator[bytes]:
    raise ImageError("LZO compression is not supported: unpack the vmlinux with lzop first")


CODECS = (
    Codec("gzip", b"\x1f\x8b\x08", _gzip, 80, 8),
    Codec("xz", b"\xfd7zXZ\0", _xz, 40, 20, 25),
    Codec("zstd", b"\x28\xb5\x2f\xfd", _zstd, 30, 4),
    Codec("lz4", _LZ4_MAGIC, _lz4_legacy, 2, 3),
    Codec("bzip2", b"BZh", _bzip2, 45, 70),
    Codec("lzma", b"\x5d\0\0", _lzma, 40, 20, 25),
    Codec("lzo", b"\x89LZO\0\r\n\x1a\n", _lzo, 0, 0),
)
"""Those that arch/x86/boot/compressed of Linux 6.12 can choose, Debian's packages and modules among them."""


def codec_of(start: bytes) -> Codec | None:
    """The codec whose magic these first bytes of a file are, if any."""
    return next((codec for codec in CODECS if start.startswith(codec.magic)), None)
