"""The vmlinux inside an x86 bzImage.

Layout: Documentation/arch/x86/boot.rst of Linux 6.12, "The Real-Mode Kernel Header". From boot protocol 2.08
(Linux 2.6.26) on, payload_offset and payload_length say where the compressed ELF is.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.compression import CODECS, MAX_OUTPUT, Codec, codec_of, decompressed
from pvspec.kernel.files.layout import Buffer
from pvspec.kernel.files.unpacked import unpacked
from pvspec.kernel.files.words import integers

_HEADER_MAGIC = 0x202
_SETUP_SECTORS = 0x1F1
_VERSION = 0x206
_ALIGNMENT = 0x230
_PAYLOAD = 0x248
_PAYLOAD_FIELDS = struct.Struct("<II")
_HEADER_END = 0x250
_MAX_CANDIDATES = 16


def is_bzimage(data: Buffer) -> bool:
    """Whether the x86 setup header's magic is where it must be."""
    return data[_HEADER_MAGIC : _HEADER_MAGIC + 4] == b"HdrS"


def kernel_alignment(data: Buffer) -> int:
    """The kernel's alignment in bytes; 0 before boot protocol 2.05, and if the file is truncated."""
    version = int.from_bytes(data[_VERSION : _VERSION + 2], "little")
    return int.from_bytes(data[_ALIGNMENT : _ALIGNMENT + 4], "little") if version >= 0x205 else 0


def extract_vmlinux(data: Buffer) -> Buffer:
    """The unpacked payload of a bzImage: an ELF file, and after it the relocation table for KASLR.

    Raises ImageError if the payload is outside the file, is damaged, or is not an ELF file.
    """
    version = int.from_bytes(data[_VERSION : _VERSION + 2], "little")
    if version >= 0x208:
        return _unpack_payload(_declared_payload(data[:]))
    return _scan(data[:])


def _declared_payload(data: bytes) -> bytes:
    if len(data) < _HEADER_END:
        raise ImageError("bzImage is truncated within its setup header")
    sectors = data[_SETUP_SECTORS] or 4  # 0 means 4 there
    offset, length = integers(_PAYLOAD_FIELDS, data, _PAYLOAD)
    start = (sectors + 1) * 512 + offset
    if start + length > len(data):
        raise ImageError(f"bzImage payload ({start:#x}, {length} bytes) is outside the file of {len(data)} bytes")
    return data[start : start + length]


def _unpack_payload(payload: bytes) -> Buffer:
    if payload.startswith(b"\x7fELF"):
        return payload  # CONFIG_KERNEL_UNCOMPRESSED
    codec = codec_of(payload)
    if codec is None:
        raise ImageError(f"bzImage payload has an unknown compression (it begins with {payload[:8].hex(' ')})")
    return unpacked(payload, lambda: _unpack(payload, codec))


def _unpack(payload: bytes, codec: Codec) -> bytes:
    # The unpacked size follows, except after gzip, which has such a field of its own (scripts/Makefile.lib).
    chunks = decompressed(codec, io.BytesIO(payload if codec.name == "gzip" else payload[:-4]))
    start = next(chunks, b"")
    if not start.startswith(b"\x7fELF"):
        raise ImageError(f"bzImage payload ({codec.name}) is not an ELF file")
    return start + b"".join(chunks)


def _scan(data: bytes) -> Buffer:
    for _, start in zip(range(_MAX_CANDIDATES), _candidates(data), strict=False):
        try:
            return _unpack_payload(data[start : start + MAX_OUTPUT])
        except ImageError:
            continue
    raise ImageError("bzImage of a boot protocol before 2.08 without a compressed ELF file")


def _candidates(data: bytes) -> Iterator[int]:
    for codec in CODECS:
        start = data.find(codec.magic, _HEADER_END)
        while start >= 0:
            yield start
            start = data.find(codec.magic, start + 1)
