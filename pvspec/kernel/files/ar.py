"""The members of an ar archive (deb(5): "!<arch>", then members, each with a header of 60 bytes)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pvspec.kernel.files.layout import Buffer

MAGIC = b"!<arch>\n"

MAX_MEMBERS = 16
"""Members of a Debian package's outer archive that are looked at: a package has three, and signatures. What comes after
them is not read."""

_HEADER = struct.Struct("16s12s6s6s8s10s2s")
_END = b"`\n"


class Member(NamedTuple):
    """A member: its name without padding, and where its `size` bytes are in the file."""

    name: bytes
    start: int
    size: int


def members(data: Buffer) -> Iterator[Member]:
    """The first MAX_MEMBERS members, in order; raises ValueError at one that is damaged."""
    at = len(MAGIC)
    for _ in range(MAX_MEMBERS):
        if at >= len(data):
            return
        member = _member(data, at)
        yield member
        at = member.start + member.size + member.size % 2


def _member(data: Buffer, at: int) -> Member:
    header = data[at : at + _HEADER.size]
    if len(header) < _HEADER.size:
        raise ValueError(f"its ar archive ends within a header, at {at:#x}")
    name, *_, size, end = _HEADER.unpack(header)
    digits = size.strip(b" ")
    if end != _END or not digits.isdigit():
        raise ValueError(f"its ar archive has no header at {at:#x}")
    member = Member(name.rstrip(b" ").removesuffix(b"/"), at + _HEADER.size, int(digits))
    if member.start + member.size > len(data):
        raise ValueError(f"its ar archive is truncated: a member of {member.size} bytes at {member.start:#x}")
    return member
