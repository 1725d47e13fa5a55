"""A cache of unpacked kernels: unpacking takes a third of the time of a prediction."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

from pvspec.kernel.files.layout import Buffer
from pvspec.support.cache import user_cache

_MAX_KERNELS = 4
"""Unpacked kernels, of 40 to 90 MiB each, that the cache keeps; the oldest is removed."""
_WORTH_IT = 1 << 20  # bytes of a payload; unpacking a smaller one is faster than looking it up


def unpacked(
    payload: io.BytesIO | io.BufferedReader, size: int, unpack: Callable[[], bytes], count: Callable[[int], None]
) -> Buffer:
    """What a compressed payload of `size` bytes unpacks to.

    `unpack` is called if that is not cached, and `count` with its size if it is: an input must not be let in because
    it was seen before. Both may raise anything. The key is a digest of the whole payload, so no payload can stand for
    another.
    """
    if size < _WORTH_IT:
        return unpack()
    cache, key = user_cache(), hashlib.file_digest(payload, "sha256").hexdigest()
    known = cache.mapped("vmlinux", key)
    if known is not None:
        count(len(known))
        return known
    contents = unpack()
    cache.put("vmlinux", key, contents, _MAX_KERNELS)
    return contents
