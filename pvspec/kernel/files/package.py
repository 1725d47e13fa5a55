"""The kernel inside a Debian binary package (deb(5): an ar archive whose data.tar.* holds boot/vmlinuz-*)."""

from __future__ import annotations

import io
import posixpath
import tarfile
from itertools import islice
from typing import BinaryIO, Protocol, cast

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.compression import MAX_OUTPUT, ChunkReader, codec_of, decompressed

MAGIC = b"!<arch>\n"
_MAX_AR_MEMBERS = 16
_MAX_TAR_MEMBERS = 50_000


class _ArMember(Protocol):
    """The members of python-debian's class that are used here; its properties lack types."""

    name: str
    size: int

    def read(self, size: int = ..., /) -> bytes: ...

    def seek(self, offset: int, /) -> object: ...


def extract_vmlinuz(file: BinaryIO) -> bytes:
    """The first regular file boot/vmlinuz-* of the package.

    Raises ImageError if the package is damaged, or lacks a kernel.
    """
    return _extract(file, "boot/vmlinuz-", "not a kernel image package")


def extract_system_map(file: BinaryIO) -> bytes:
    """The System.map of a package of debug symbols; the one in a kernel's own package is a placeholder.

    Raises ImageError if the package is damaged, or lacks a System.map.
    """
    return _extract(file, "usr/lib/debug/boot/System.map-", "not a kernel's package of debug symbols")


def _extract(file: BinaryIO, start: str, otherwise: str) -> bytes:
    """The first regular file whose path starts with `start`."""
    try:
        return _first(_data_tar(file), start, otherwise)
    except ImageError:
        raise
    except Exception as error:  # tarfile and debian.arfile raise all kinds of exceptions for damaged archives
        raise ImageError(f"damaged Debian package: {error}") from error


def _data_tar(file: BinaryIO) -> BinaryIO:
    member = _data_member(file)
    start = member.read(16)
    member.seek(0)
    codec = codec_of(start)
    if codec is None:
        return cast(BinaryIO, member)
    return cast(BinaryIO, ChunkReader(decompressed(codec, cast(BinaryIO, member))))


def _data_member(file: BinaryIO) -> _ArMember:
    """Walked here, not by ArFile, which loops forever on a negative member size."""
    from debian.arfile import ArMember

    file.seek(len(MAGIC))
    for _ in range(_MAX_AR_MEMBERS):
        member = cast(_ArMember | None, ArMember.from_file(file, None))
        if member is None:
            break
        if member.size < 0:
            raise ImageError(f"ar member {member.name!r} has a negative size")
        if member.name.startswith("data.tar"):
            return member
        file.seek(member.size + member.size % 2, io.SEEK_CUR)
    raise ImageError("ar archive without a data.tar member: not a Debian package")


def _first(data: BinaryIO, start: str, otherwise: str) -> bytes:
    with tarfile.open(fileobj=data, mode="r|") as archive:
        for member in islice(archive, _MAX_TAR_MEMBERS):
            if member.isreg() and posixpath.normpath(member.name).lstrip("/").startswith(start):
                return _contents(archive, member)
    raise ImageError(f"Debian package lacks {start}*: {otherwise}")


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.issparse() or member.size > MAX_OUTPUT:
        raise ImageError(f"{member.name} in the package is sparse or too large")
    file = archive.extractfile(member)
    contents = file.read() if file else b""
    if len(contents) < member.size:
        raise ImageError(f"{member.name} in the package is truncated")
    return contents
