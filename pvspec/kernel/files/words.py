"""Integers in binary structures: struct, with type annotations."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from struct import Struct

Bytes = bytes | bytearray | memoryview | mmap.mmap


def integers(structure: Struct, data: Bytes, offset: int = 0) -> tuple[int, ...]:
    """The fields of the structure at `offset`; all of them are integers. Raises struct.error if it is truncated."""
    return structure.unpack_from(data, offset)


def records(structure: Struct, table: bytes | bytearray) -> Iterator[tuple[int, ...]]:
    """The fields of each structure in a table; struct.error unless it consists of complete structures."""
    return structure.iter_unpack(table)
