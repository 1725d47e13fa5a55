"""Code run in a CPU emulator: a `function` from a state to a state, a `machine` with pages and exceptions."""

from __future__ import annotations

from typing import Any

MAX_TRANSLATED = 8 << 20
"""Bytes of host code that the emulator keeps of what it has translated; when they are full, it translates anew."""


def map_memory(engine: Any, address: int, size: int) -> None:
    """Give the emulated CPU `size` bytes at an address; MemoryError if there are none left."""
    import unicorn

    try:
        engine.mem_map(address, size)
    except unicorn.UcError as error:
        if error.errno == unicorn.UC_ERR_NOMEM:
            raise MemoryError from None
        raise
