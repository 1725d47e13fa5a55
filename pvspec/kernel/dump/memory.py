"""The bytes of a dump by address: from pieces of a file, or from a reader."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, Protocol

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.file_bytes import FileBytes
from pvspec.kernel.files.reader import CheckedReader, Reader, as_stream

_LEAST_PIECE, _FEW_PIECES = 512, 16
"""Bytes that the pieces of a core have on average over a range that is read, unless they are few: where they are
smaller, it is refused, for no machine's memory is."""

Region = tuple[int, int]
"""An address, and the number of bytes that there may be from there on."""


class Piece(NamedTuple):
    """`size` bytes of memory from the address `start` on, which the file has at `offset`."""

    start: int
    size: int
    offset: int


class Memory(Protocol):
    """The contents of a dump by addresses of one kind."""

    def up_to(self, address: int, size: int) -> bytes:
        """As many bytes, up to `size`, as there are from `address` on without a gap; raises ImageError."""
        ...

    def probe(self, address: int, size: int) -> bytes:
        """The same, but may return nothing if some are missing, which saves a search work."""
        ...

    def regions(self) -> Iterable[Region]:
        """The ranges where there may be memory."""
        ...


class File(Protocol):
    """The bytes of a file by offset."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`; fewer at the end."""
        ...

    def stream(self) -> BinaryIO:
        """The same bytes, to be read from the beginning."""
        ...


class Contents:
    """A file whose bytes are at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._data)

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`; fewer at the end."""
        return self._data[offset : offset + size]

    def stream(self) -> BinaryIO:
        """The same bytes, to be read from the beginning."""
        return as_stream(self._data)


class DumpFile:
    """A file on disk, or one that shows memory, as /proc/kcore.

    It is read only, so copies share it. It does not pickle: what another process opens at its path may be another file.
    """

    def __init__(self, path: Path) -> None:
        """Raises ImageError."""
        self._path, self._file = path, FileBytes(path)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._file)

    def at(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`; fewer at the end. Raises ImageError if the file was changed."""
        return self._file[offset : offset + size]

    def stream(self) -> BinaryIO:
        """The same bytes, to be read from the beginning."""
        return as_stream(self._file)

    def __copy__(self) -> DumpFile:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> DumpFile:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a dump of the file {self._path} cannot be pickled: pickle the path, and open it again")


class FileMemory:
    """Pieces of a file, at their addresses."""

    def __init__(self, pieces: Iterable[Piece], file: File) -> None:
        self._pieces = list(_disjoint(pieces))
        self._starts = [piece.start for piece in self._pieces]
        self._file = file

    def up_to(self, address: int, size: int) -> bytes:
        """As many bytes, up to `size`, as there are from `address` on without a gap; ImageError if they are crumbs."""
        found = self._part(address, size)
        if not found or len(found) == size:
            return found
        parts = [found]
        at, end = address + len(found), address + size
        while at < end and (part := self._part(at, end - at)):
            parts.append(part)
            at += len(part)
            if len(parts) > _FEW_PIECES + (at - address) // _LEAST_PIECE:
                raise ImageError(f"its memory from {address:#x} on is in pieces that are too small for a machine's")
        return b"".join(parts)

    def probe(self, address: int, size: int) -> bytes:
        """The same."""
        return self.up_to(address, size)

    def _part(self, address: int, size: int) -> bytes:
        """As many of these bytes as one piece has."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return b""
        start, length, offset = self._pieces[index]
        end = min(address + size, start + length)
        return self._file.at(offset + address - start, end - address) if address < end else b""

    def regions(self) -> Iterable[Region]:
        """The pieces."""
        return [(piece.start, piece.size) for piece in self._pieces]


def _disjoint(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same memory with each address once, ascending: a core may have the same pages by several mappings.

    Pieces that follow one another, in memory and in the file, are one.
    """
    last = Piece(0, 0, 0)
    for start, size, offset in sorted(pieces):
        skipped = max(last.start + last.size - start, 0)
        if skipped >= size:
            continue
        piece = Piece(start + skipped, size - skipped, offset + skipped)
        if piece.start - last.start == last.size == piece.offset - last.offset:
            last = last._replace(size=last.size + piece.size)
            continue
        if last.size:
            yield last
        last = piece
    if last.size:
        yield last


class ReaderMemory:
    """Virtual memory of a running kernel, as a reader has it. `region` is where messages look for its banner."""

    def __init__(self, reader: Reader, region: Region) -> None:
        self._reader = CheckedReader(reader)
        self._region = region

    def up_to(self, address: int, size: int) -> bytes:
        """As many bytes, up to `size`, as there are from `address` on without a gap; raises ImageError."""
        return self._reader.up_to(address, size) if address >= 0 else b""

    def probe(self, address: int, size: int) -> bytes:
        """The same, in one question if it fails; raises ImageError."""
        return self._reader.probe(address, size) if address >= 0 else b""

    def regions(self) -> Iterable[Region]:
        """One: a reader does not say what it has."""
        return [self._region]

    @property
    def failure(self) -> Exception | None:
        """What the reader raised last."""
        return self._reader.failure
