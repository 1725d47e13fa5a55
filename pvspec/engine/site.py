"""What a site tells those who ask: guards, holes, the actions of arms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Branch: TypeAlias = tuple[bool, int, int]
"""A call or jump: whether a cs prefix stands before it, its opcode, the address that it leads to."""


class Site(dict[str, int]):
    """The fields of a site's record and what they lead to, by name; an op's site has those of a ROM's answer.

    `op_number`, `op_name`: the op that it calls. `code`: the bytes there now, `branch`: the call or jump that they
    begin with. `peek`: (address, size) to so many bytes of the text, fewer where it ends. `length` in bytes.
    """

    __slots__ = ("branch", "code", "length", "op_name", "op_number", "peek")
    branch: Branch
    code: bytes
    length: int
    op_name: str | None
    op_number: int
    peek: Callable[[int, int], bytes]
