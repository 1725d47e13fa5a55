"""A cache of unpacked kernels: unpacking takes a third of the time of a prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pvspec.kernel.files.layout import Buffer
from pvspec.support.cache import user_cache

_MAX_KERNELS = 4
"""Unpacked kernels, of 40 to 90 MiB each, that the cache keeps; the oldest is removed."""
_WORTH_IT = 1 << 20  # bytes of a payload; unpacking a smaller one is faster than looking it up


def unpacked(payload: bytes, unpack: Callable[[], bytes]) -> Buffer:
    """What a compressed payload unpacks to. `unpack` is called if that is not cached, and may raise anything."""
    if len(payload) < _WORTH_IT:
        return unpack()
    cache, key = user_cache(), hashlib.sha256(payload).hexdigest()[:32]
    known = cache.mapped("vmlinux", key)
    if known is not None:
        return known
    contents = unpack()
    cache.put("vmlinux", key, contents, _MAX_KERNELS)
    return contents
