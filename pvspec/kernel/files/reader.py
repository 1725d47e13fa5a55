"""Where bytes come from: a path, bytes, or an object that can be read by address."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.file_bytes import FileBytes, unreadable
from pvspec.kernel.files.layout import Buffer

MAX_FILE = 512 << 20
"""Bytes of a file that is taken from a reader, or as a file of symbols: as many as Debian's largest vmlinux with debug
information has. More is an error."""

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
    """All bytes of a file; raises ImageError. One at a path is read when its bytes are asked for."""
    if is_reader(source):
        return _read_all(cast(Reader, source))
    data = FileBytes(source) if isinstance(source, str | os.PathLike) else bytes(cast(memoryview, source))
    if not data:
        raise ImageError("is empty")
    return data


def _read_all(reader: Reader) -> bytes:
    checked, found = CheckedReader(reader), io.BytesIO()
    found.writelines(_pieces(checked))
    data = found.getvalue()
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


class _Stream(io.RawIOBase):
    """A part of some bytes, as a file."""

    def __init__(self, data: Buffer, start: int, size: int) -> None:
        self._data, self._start, self._size = data, start, size
        self._position = 0

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, which may be after the end; returns it."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any writable buffer
        """Fill `buffer` from the position on; returns the number of bytes, 0 at the end. Raises ImageError."""
        count = max(min(len(buffer), self._size - self._position), 0)
        start = self._start + self._position
        buffer[:count] = self._data[start : start + count]
        self._position += count
        return count


def as_stream(data: Buffer, start: int = 0, size: int | None = None) -> io.BytesIO | io.BufferedReader:
    """The `size` bytes from `start` on, or all of them, as a file; reading it may raise ImageError."""
    if isinstance(data, bytes) and size is None:
        file = io.BytesIO(data)
        file.seek(start)
        return file
    return io.BufferedReader(_Stream(data, start, len(data) - start if size is None else size))
