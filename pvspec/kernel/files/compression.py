"""Unpacking with bounds: on what comes out, and on the work that it takes, which is counted as it is done."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.codecs import MAX_WINDOW, Codec
from pvspec.kernel.work import NANOSECONDS, Work

MAX_OUTPUT = 192 << 20
"""Bytes that a compressed kernel or module, or a kernel in a package, may have once it is unpacked: twice as many as
Debian's largest. More is an error: a vmlinux with debug information must be unpacked before it is given."""

_STREAM = 30_000  # nanoseconds to begin a stream
_CALL = 1_000  # nanoseconds to read


class _Counted:
    """Compressed data that are counted as they are read."""

    def __init__(self, source: BinaryIO, codec: Codec, work: Work) -> None:
        self._source, self._codec, self._work = source, codec, work
        self._balance = self._surplus = 0  # bytes read less those unpacked: now, and the most that was counted

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._balance += len(data)
        more = max(self._balance - self._surplus, 0)
        self._surplus += more
        count(self._codec, self._work, len(data), nanoseconds=_CALL + more * self._codec.per_surplus)
        return data

    def unpacked(self, chunk: bytes) -> None:
        self._balance -= len(chunk)
        count(self._codec, self._work, unpacked=len(chunk))

    def begin(self) -> None:
        count(self._codec, self._work, nanoseconds=_STREAM)


def count(codec: Codec, work: Work, read: int = 0, unpacked: int = 0, nanoseconds: int = _CALL) -> None:
    """Count the unpacking of so many bytes to so many, and what else it takes; raises TooMuchWork."""
    nanoseconds += read * codec.per_input + unpacked * codec.per_output
    work.add(-(-nanoseconds // NANOSECONDS), f"unpacking {codec.name} data")


def decompressed(codec: Codec, source: BinaryIO, work: Work, *, several: bool = True) -> Iterator[bytes]:
    """What a stream unpacks to, or several that follow each other, in non-empty pieces. Data after them are ignored.

    Raises ImageError if the data are damaged or truncated, TooMuchWork if they take too much.
    """
    counted = _Counted(source, codec, work)
    try:
        for chunk in filter(None, codec.stream(counted, several)):
            counted.unpacked(chunk)
            yield chunk
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # each codec has exceptions of its own, without a common base class
        if "memory" in str(error).lower():  # what lzma and zstd say beyond MAX_WINDOW
            raise ImageError(
                f"{codec.name} data takes more than {MAX_WINDOW >> 20} MiB of memory to unpack: unpack it first"
            ) from error
        raise ImageError(f"{codec.name} data is damaged: {error}") from error


def unpack(codec: Codec, source: BinaryIO, work: Work) -> bytes:
    """Everything that these streams unpack to, at most MAX_OUTPUT bytes; raises ImageError as `decompressed` does."""
    return gathered(decompressed(codec, source, work), f"{codec.name} data unpacks to")


def gathered(chunks: Iterator[bytes], what: str) -> bytes:
    """The pieces as one, which are held once; ImageError, which begins with `what`, if they are above MAX_OUTPUT."""
    whole = io.BytesIO()
    for chunk in chunks:
        if whole.tell() + len(chunk) > MAX_OUTPUT:
            raise ImageError(f"{what} more than {MAX_OUTPUT >> 20} MiB: if it is a vmlinux, unpack it first")
        whole.write(chunk)
    return whole.getvalue()


class ChunkReader:
    """Non-empty pieces, read from the beginning in other sizes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """`chunks` is consumed once."""
        self._chunks = chunks
        self._pending = memoryview(b"")

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end."""
        found = io.BytesIO()
        found.writelines(self._parts(size))
        return found.getvalue()

    def skip(self, size: int) -> int:
        """Pass over `size` bytes; returns how many there were."""
        return sum(map(len, self._parts(size)))

    def _parts(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes in pieces; fewer at the end."""
        while size > 0:
            self._pending = self._pending or memoryview(next(self._chunks, b""))
            part = self._pending[:size]
            if not part:
                return
            self._pending = self._pending[len(part) :]
            size -= len(part)
            yield part
