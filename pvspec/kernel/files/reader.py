"""Where bytes come from: a path, bytes, or an object that can be read by address."""

from __future__ import annotations

import io
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Buffer

MAX_FILE = 1 << 30
"""The largest file, in bytes, that is taken from a reader, or as a file of symbols: twice the size of Debian's largest
vmlinux with debug information."""

_PIECE = 1 << 20
_END = 1 << 64


class Reader(Protocol):
    """Memory, or a file, that another program reads: a debugger, a forensics framework.

    `read(address, size)` returns the `size` bytes from `address` on, as bytes, bytearray or memoryview. If they do not
    all exist, it either returns those before the first missing one (none, if that is the one at `address`), or raises
    an `Exception` of its own. An `address` is at least 0, and `address + size` at most 2**64; a `size` is from 1 to
    1 MiB. Two reads of an address return the same.
    """

    def read(self, address: int, size: int, /) -> bytes | bytearray | memoryview:
        """The bytes from `address` on."""
        ...


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Reader
"""A path, the contents of a file, or a reader."""


class CheckedReader:
    """A reader whose every answer is checked: bytes, and no more of them than were asked for."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.failure: Exception | None = None  # the last exception that it raised

    def up_to(self, address: int, size: int) -> bytes:
        """As many bytes, up to `size`, as there are from `address` on; raises ImageError if the reader misbehaves.

        Where the reader raises, half as much is requested, and so on: so the bytes before a gap are found either way.
        """
        found = bytearray()
        room = min(size, _END - address)
        step = _PIECE
        while len(found) < room and step:
            wanted = min(step, room - len(found))
            part = self._ask(address + len(found), wanted)
            if part is None:
                step = wanted // 2
            elif part:
                found += part
            else:
                break
        return bytes(found)

    def probe(self, address: int, size: int) -> bytes:
        """The bytes from `address` on, or none if the first request fails; raises ImageError as `up_to` does.

        For a search, in which most requests fail: this makes one, where `up_to` goes down to single bytes.
        """
        if size > _PIECE or address + size > _END:
            return self.up_to(address, size)
        part = self._ask(address, size)
        return part + self.up_to(address + len(part), size - len(part)) if part else b""

    def _ask(self, address: int, size: int) -> bytes | None:
        """Its answer; None if it raised."""
        try:
            answer: object = self._reader.read(address, size)
        except Exception as error:  # it may be of any class
            self.failure = error
            return None
        if not isinstance(answer, bytes | bytearray | memoryview):
            raise ImageError(f"the reader returned {type(answer).__name__} for {size} bytes at {address:#x}, not bytes")
        part = bytes(answer)
        if len(part) > size:
            raise ImageError(f"the reader returned {len(part)} bytes at {address:#x}, where {size} were asked for")
        return part


def name_of(source: Source, name: str | None, otherwise: str) -> str:
    """What messages call a source: the given `name`, its path, or else `default`."""
    if name is None and isinstance(source, str | os.PathLike):
        return str(Path(source))
    return otherwise if name is None else name


def is_reader(source: object) -> bool:
    """Whether it is an object with `read`, not a path or bytes; raises ImageError if it is none of these."""
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        return False
    if callable(getattr(source, "read", None)):
        return True
    raise ImageError(f"cannot read {type(source).__name__}: give a path, bytes, or an object with read(address, size)")


def contents(source: Source) -> Buffer:
    """All bytes of a file: mapped if it is a path, read if it is a reader; raises ImageError."""
    if is_reader(source):
        return _read_all(cast(Reader, source))
    if isinstance(source, str | os.PathLike):
        return map_file(Path(source))
    data = bytes(cast(memoryview, source))
    if not data:
        raise ImageError("is empty")
    return data


def _read_all(reader: Reader) -> bytes:
    checked = CheckedReader(reader)
    data = b"".join(_pieces(checked))
    if not data:
        raise ImageError("is empty") if checked.failure is None else unreadable(checked.failure)
    return data


def _pieces(reader: CheckedReader) -> Iterator[bytes]:
    """The bytes from address 0 on, up to the first missing one."""
    for address in range(0, MAX_FILE + 1, _PIECE):
        part = reader.up_to(address, _PIECE)
        yield part
        if len(part) < _PIECE:
            return
    raise ImageError(f"its reader has more than {MAX_FILE >> 20} MiB: no kernel file is so large")


def unreadable(error: Exception) -> ImageError:
    """The message for a source that raised an error."""
    if isinstance(error, OSError):
        return ImageError(f"cannot be read: {error.strerror or error}")
    return ImageError(f"cannot be read: {type(error).__name__}: {error}")


def map_file(path: Path) -> mmap.mmap:
    """The contents of a regular file; raises ImageError."""
    try:
        with open(path, "rb", opener=open_nonblocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError("is not a regular file")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise unreadable(error) from error
    except ValueError:
        raise ImageError("is empty, or not a path") from None


def open_nonblocking(path: str, flags: int) -> int:
    """Opening a FIFO must not wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def as_stream(data: Buffer) -> BinaryIO:
    """The same bytes as a file object, at its beginning."""
    if isinstance(data, bytes):
        return io.BytesIO(data)
    data.seek(0)
    return cast(BinaryIO, data)
