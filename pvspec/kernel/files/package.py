"""The kernel inside a Debian binary package (deb(5): an ar archive whose data.tar.* holds boot/vmlinuz-*)."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files import ar
from pvspec.kernel.files.codecs import codec_of
from pvspec.kernel.files.compression import ChunkReader, decompressed
from pvspec.kernel.files.layout import Buffer
from pvspec.kernel.files.reader import as_stream
from pvspec.kernel.files.tar import Stream, first_file
from pvspec.kernel.work import Work

MAGIC = ar.MAGIC


def extract_vmlinuz(data: Buffer, work: Work) -> bytes:
    """The first regular file boot/vmlinuz-* of the package.

    Raises ImageError if the package is damaged, lacks a kernel, or takes too much `work`.
    """
    return _extract(data, b"boot/vmlinuz-", "not a kernel image package", work)


def extract_system_map(data: Buffer, work: Work) -> bytes:
    """The System.map of a package of debug symbols; the one in a kernel's own package is a placeholder.

    Raises ImageError if the package is damaged, lacks a System.map, or takes too much `work`.
    """
    return _extract(data, b"usr/lib/debug/boot/System.map-", "not a kernel's package of debug symbols", work)


def _extract(data: Buffer, start: bytes, otherwise: str, work: Work) -> bytes:
    """The first regular file whose path starts with `start`."""

    def wanted(name: bytes) -> bool:
        return posixpath.normpath(name).lstrip(b"/").startswith(start)

    try:
        found = first_file(_data_tar(data, work), wanted, work)
    except ValueError as error:
        raise ImageError(f"damaged Debian package: {error}") from error
    if found is None:
        raise ImageError(f"Debian package lacks {start.decode()}*: {otherwise}")
    return found


def _data_tar(data: Buffer, work: Work) -> Stream:
    """The package's files, unpacked. Raises ValueError, or ImageError if there are none."""
    for name, start, size in ar.members(data):
        if name.startswith(b"data.tar"):
            codec = codec_of(data[start : start + min(size, 16)])
            if codec is None:
                return _Stored(data, start, start + size)
            return ChunkReader(decompressed(codec, as_stream(data, start, size), work))
    raise ImageError("ar archive without a data.tar member: not a Debian package")


@dataclass
class _Stored:
    """Bytes of a file from `at` to `end`, to be read in order."""

    data: Buffer
    at: int
    end: int

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        start = self.at
        return self.data[start : start + self.skip(size)]

    def skip(self, size: int) -> int:
        """Pass over so many bytes; returns how many there were."""
        count = min(size, self.end - self.at)
        self.at += count
        return count
