"""ELF cores with virtual and physical addresses, and notes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from tests.fuzz.elf import CORE, FORMATS

_LOAD, _NOTE = 1, 4


class Load(NamedTuple):
    """Memory at a virtual address, 0 for none, and a physical one."""

    virtual: int
    physical: int
    data: bytes


def core_file(bits: int, loads: Sequence[Load], note: bytes = b"") -> bytes:
    """The file: header, segments, the note, the memory."""
    form = FORMATS[bits]
    size, entry = struct.calcsize(form.header), struct.calcsize(form.program)
    at = size + entry * (len(loads) + 1)
    headers, body = b"", b""
    for kind, (virtual, physical, data) in [(_NOTE, Load(0, 0, note)), *((_LOAD, load) for load in loads)]:
        places = at + len(body), virtual, physical, len(data), len(data)
        headers += struct.pack(form.program, *((kind, *places, 4, 8) if bits == 32 else (kind, 4, *places, 8)))
        body += data
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1])
    row = ident, CORE, form.machine, 1, 0, size, 0, 0, size, entry, len(loads) + 1, 0, 0, 0
    return struct.pack(form.header, *row) + headers + body
