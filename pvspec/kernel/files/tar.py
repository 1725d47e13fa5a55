"""One file of a tar archive: as dpkg-deb, GNU tar, bsdtar and Python write it (tar(5): v7, ustar, GNU and pax).

The archive is read once, from the beginning. Whatever a header says is checked before it is followed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from pvspec.kernel.files.compression import MAX_OUTPUT
from pvspec.kernel.work import NANOSECONDS, Work

MAX_EXTENSION = 64 << 10
"""Bytes of a file's long name or extended header in a tar archive. More is an error."""

_BLOCK = 512
_HEADER = struct.Struct("100s24x12s12x8sc100x6s82x155s12x")  # name, size, checksum, type flag, magic, prefix
_CHECKSUM = slice(148, 156)
_USTAR = b"ustar\0"  # GNU's magic is another: it uses the prefix otherwise
_LENGTH_DIGITS, _SIZE_DIGITS = 5, 20

_REGULAR = (b"\0", b"0", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes
_SPARSE, _LONG_NAME, _LONG_LINK, _EXTENDED, _SOLARIS, _GLOBAL = b"S", b"L", b"K", b"x", b"X", b"g"
_EXTENSIONS = (_LONG_NAME, _LONG_LINK, _EXTENDED, _SOLARIS, _GLOBAL)
_MORE, _MORE_IN_BLOCK = 482, 504  # where a sparse file's header, and a block after it, say that a block follows
_SPARSE_KEYS = (b"GNU.sparse.size", b"GNU.sparse.realsize")
_KEYS = (b"path", b"size", b"GNU.sparse.name", *_SPARSE_KEYS)

_HEADER_TIME = 10_000  # nanoseconds
_EXTENSION_TIME = 300  # nanoseconds a byte: a record may have four bytes
_WHAT = "reading the names of a package's files"


class Stream(Protocol):
    """The bytes of an archive, from the beginning."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; fewer at the end."""
        ...

    def skip(self, size: int, /) -> int:
        """Pass over so many bytes; returns how many there were."""
        ...


class _Header(NamedTuple):
    """The fields of a header; `kind` is its type flag."""

    name: bytes
    size: int
    kind: bytes


class _File(NamedTuple):
    """What a header and its extensions say of a file. Its contents come next in the archive."""

    name: bytes
    size: int
    regular: bool
    sparse: bool


def first_file(stream: Stream, wanted: Callable[[bytes], bool], work: Work) -> bytes | None:
    """The contents of the first regular file with such a name; None if there is none.

    Raises ValueError if the archive is damaged up to there, or the file is sparse or has more than MAX_OUTPUT bytes.
    """
    for file in _files(stream, work):
        if file.regular and wanted(file.name):
            return _contents(stream, file)
        _skip(stream, file.size)
    return None


def _contents(stream: Stream, file: _File) -> bytes:
    if file.sparse or file.size > MAX_OUTPUT:
        raise ValueError(f"{_shown(file.name)} in its tar archive is sparse, or has more than {MAX_OUTPUT >> 20} MiB")
    contents = stream.read(file.size)
    if len(contents) < file.size:
        raise ValueError(f"its tar archive is truncated within {_shown(file.name)}")
    return contents


def _files(stream: Stream, work: Work) -> Iterator[_File]:
    """Each file; whoever asks for the next one has passed over its contents."""
    common: dict[bytes, bytes] = {}
    own: dict[bytes, bytes] = {}
    for block in _blocks(stream, work):
        header = _header(block)
        if header.kind not in _EXTENSIONS:
            if header.kind == _SPARSE:
                _skip_map(stream, block, work)
            yield _file(header, common | own)
            own = {}
        elif header.kind == _GLOBAL:
            common |= _records(_extension(stream, header, work))
        elif header.kind == _LONG_NAME:
            own[b"path"] = _text(_extension(stream, header, work))
        elif header.kind == _LONG_LINK:
            _extension(stream, header, work)
        else:
            own |= _records(_extension(stream, header, work))


def _blocks(stream: Stream, work: Work) -> Iterator[bytes]:
    """The blocks with headers, up to the end of the archive: a block of zeros, or nothing more."""
    while block := stream.read(_BLOCK):
        work.add(_HEADER_TIME // NANOSECONDS, _WHAT)
        if len(block) < _BLOCK:
            raise ValueError("its tar archive is truncated within a header")
        if not any(block):
            return
        yield block


def _header(block: bytes) -> _Header:
    name, size, checksum, kind, magic, prefix = _HEADER.unpack(block)
    if _octal(checksum) != sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" "):
        raise ValueError("its tar archive has a header with a wrong checksum")
    before = _text(prefix) if magic == _USTAR else b""
    return _Header(before + b"/" + _text(name) if before else _text(name), _number(size), kind)


def _file(header: _Header, extended: Mapping[bytes, bytes]) -> _File:
    """A file, of which extensions say more than its header; an empty value means that they do not."""
    name = extended.get(b"GNU.sparse.name") or extended.get(b"path") or header.name
    digits = extended.get(b"size")
    if digits and not (digits.isdigit() and len(digits) <= _SIZE_DIGITS):
        raise ValueError(f"{_shown(name)} in its tar archive has no size")
    size = int(digits) if digits else header.size
    if size and header.kind in _WITHOUT_DATA:
        raise ValueError(f"{_shown(name)} in its tar archive is a link, a folder or a device, but has contents")
    sparse = header.kind == _SPARSE or any(map(extended.get, _SPARSE_KEYS))
    return _File(name, size, header.kind in _REGULAR or sparse, sparse)


def _skip(stream: Stream, size: int) -> None:
    """Pass over contents of so many bytes, and what pads them."""
    skipped = stream.skip(size + -size % _BLOCK)
    if skipped < size:
        raise ValueError(f"its tar archive is truncated: a file of {size} bytes, and only {skipped} are left")


def _skip_map(stream: Stream, block: bytes, work: Work) -> None:
    """Pass over the blocks after a sparse file's header."""
    at = _MORE
    while block[at]:
        block, at = next(_blocks(stream, work), bytes(_BLOCK)), _MORE_IN_BLOCK


def _extension(stream: Stream, header: _Header, work: Work) -> bytes:
    if header.size > MAX_EXTENSION:
        raise ValueError(f"its tar archive has a name or an extended header of {header.size} bytes")
    work.add(header.size * _EXTENSION_TIME // NANOSECONDS, _WHAT)
    data = stream.read(header.size)
    if len(data) < header.size:
        raise ValueError("its tar archive is truncated within an extended header")
    stream.skip(-header.size % _BLOCK)
    return data


def _records(data: bytes) -> dict[bytes, bytes]:
    """The records of an extended header that matter here: "LENGTH KEY=VALUE\\n", where LENGTH counts all of it."""
    found, at = {}, 0
    while at < len(data):
        space = data.find(b" ", at, at + _LENGTH_DIGITS + 1)
        digits = data[at : max(space, at)]
        end = at + int(digits) if digits.isdigit() else at
        if not 0 <= space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise ValueError("its tar archive has a damaged extended header")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        if key in _KEYS:
            found[key] = value
        at = end
    return found


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits, or, as GNU tar writes what is too large for them, a byte 0x80 and a big-endian number."""
    return int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)


def _octal(field: bytes) -> int:
    digits = _text(field).strip(b" ")
    if digits.strip(b"01234567"):
        raise ValueError("its tar archive has a header with a damaged number")
    return int(digits or b"0", 8)


def _shown(name: bytes) -> str:
    return ascii(name[:100].decode("latin-1"))
