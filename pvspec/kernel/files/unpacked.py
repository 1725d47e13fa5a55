"""Kernels that were unpacked before, in the user's cache: unpacking is a third of what a prediction costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pvspec.kernel.files.layout import Buffer
from pvspec.support.cache import user_cache

_MOST = 4  # kernels of 40 to 90 MiB
_WORTH_IT = 1 << 20  # bytes of a payload; less is unpacked before it is found


def unpacked(payload: bytes, unpack: Callable[[], bytes]) -> Buffer:
    """What a compressed payload unpacks to; `unpack`, which is asked if that is not cached, may raise what it likes."""
    if len(payload) < _WORTH_IT:
        return unpack()
    cache, key = user_cache(), hashlib.sha256(payload).hexdigest()[:32]
    known = cache.mapped("vmlinux", key)
    if known is not None:
        return known
    contents = unpack()
    cache.put("vmlinux", key, contents, _MOST)
    return contents
