"""The vmlinux inside an x86 bzImage.

Layout: Documentation/arch/x86/boot.rst of Linux 6.12, "The Real-Mode Kernel Header". From boot protocol 2.08
(Linux 2.6.26) on, payload_offset and payload_length say where the compressed ELF is.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.codecs import CODECS, Codec, codec_of
from pvspec.kernel.files.compression import MAX_OUTPUT, count, decompressed, gathered
from pvspec.kernel.files.elf_headers import MAGIC
from pvspec.kernel.files.layout import Buffer
from pvspec.kernel.files.reader import as_stream
from pvspec.kernel.files.unpacked import unpacked
from pvspec.kernel.files.words import integers
from pvspec.kernel.work import NANOSECONDS, TooMuchWork, Work

MAX_SEARCHED = 32 << 20
"""Bytes of a bzImage of a boot protocol before 2.08 (Linux 2.6.26), which does not say where its kernel is. One that is
larger is not searched, which is an error."""

_HEADER_MAGIC = 0x202
_SETUP_SECTORS = 0x1F1
_VERSION = 0x206
_ALIGNMENT = 0x230
_PAYLOAD = struct.Struct("<II")
_PAYLOAD_AT = 0x248
_HEADER_END = 0x250
_MAX_CANDIDATES = 16
"""Places in a bzImage of an old boot protocol where a compressed kernel may begin; only the first are tried."""


def is_bzimage(data: Buffer) -> bool:
    """Whether the x86 setup header's magic is where it must be."""
    return data[_HEADER_MAGIC : _HEADER_MAGIC + 4] == b"HdrS"


def kernel_alignment(data: Buffer) -> int:
    """The kernel's alignment in bytes; 0 before boot protocol 2.05, and if the file is truncated."""
    return int.from_bytes(data[_ALIGNMENT : _ALIGNMENT + 4], "little") if _version(data) >= 0x205 else 0


def extract_vmlinux(data: Buffer, work: Work) -> Buffer:
    """The unpacked payload of a bzImage: an ELF file, and after it the relocation table for KASLR.

    Raises ImageError if the payload is outside the file, is damaged, is not an ELF file, or takes too much `work`.
    """
    return _unpack(_declared(data), work) if _version(data) >= 0x208 else _found(data, work)


def _version(data: Buffer) -> int:
    return int.from_bytes(data[_VERSION : _VERSION + 2], "little")


class _Payload(NamedTuple):
    """A part of a file."""

    data: Buffer
    start: int
    size: int

    def stream(self, size: int | None = None) -> io.BytesIO | io.BufferedReader:
        """As a file; of the first `size` bytes, if it is given."""
        return as_stream(self.data, self.start, self.size if size is None else size)


def _declared(data: Buffer) -> _Payload:
    header = data[:_HEADER_END]
    if len(header) < _HEADER_END:
        raise ImageError("bzImage is truncated within its setup header")
    sectors = header[_SETUP_SECTORS] or 4  # 0 means 4 there
    offset, length = integers(_PAYLOAD, header, _PAYLOAD_AT)
    start = (sectors + 1) * 512 + offset
    if start + length > len(data):
        raise ImageError(f"bzImage payload ({start:#x}, {length} bytes) is outside the file of {len(data)} bytes")
    if length > MAX_OUTPUT:
        raise ImageError(f"bzImage payload has {length >> 20} MiB: more than {MAX_OUTPUT >> 20}")
    return _Payload(data, start, length)


def _unpack(payload: _Payload, work: Work) -> Buffer:
    start = payload.data[payload.start : payload.start + min(payload.size, 16)]
    if start.startswith(MAGIC):
        return payload.data[payload.start : payload.start + payload.size]  # CONFIG_KERNEL_UNCOMPRESSED
    codec = codec_of(start)
    if codec is None:
        raise ImageError(f"bzImage payload has an unknown compression (it begins with {start[:8].hex(' ')})")
    return unpacked(
        payload.stream(),
        payload.size,
        lambda: _elf(payload, codec, work),
        lambda size: count(codec, work, payload.size, size),
    )


def _elf(payload: _Payload, codec: Codec, work: Work) -> bytes:
    # The unpacked size follows, except after gzip, which has such a field of its own (scripts/Makefile.lib).
    packed = payload.stream() if codec.name == "gzip" else payload.stream(max(payload.size - 4, 0))
    chunks = decompressed(codec, packed, work, several=False)  # the kernel unpacks one stream
    start = next(chunks, b"")
    if not start.startswith(MAGIC):
        raise ImageError(f"bzImage payload ({codec.name}) is not an ELF file")
    return gathered(chain([start], chunks), f"bzImage payload ({codec.name}) unpacks to")


def _found(data: Buffer, work: Work) -> bytes:
    """The first compressed ELF file; what all that look like one cost is counted together."""
    if len(data) > MAX_SEARCHED:
        raise ImageError(
            f"bzImage of a boot protocol before 2.08 has {len(data) >> 20} MiB: more than {MAX_SEARCHED >> 20}"
        )
    whole = data[:]
    work.add(len(whole) * len(CODECS) // NANOSECONDS, "searching the bzImage")
    for start, codec in islice(_candidates(whole), _MAX_CANDIDATES):
        try:
            return _elf(_Payload(whole, start, len(whole) - start), codec, work)
        except TooMuchWork:
            raise
        except ImageError:
            continue
    raise ImageError("bzImage of a boot protocol before 2.08 without a compressed ELF file")


def _candidates(data: bytes) -> Iterator[tuple[int, Codec]]:
    for codec in CODECS:
        start = data.find(codec.magic, _HEADER_END)
        while start >= 0:
            yield start, codec
            start = data.find(codec.magic, start + 1)
