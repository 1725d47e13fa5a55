"""Kernels that were unpacked before, in the user's cache: unpacking is a third of what a prediction costs."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pvspec.kernel.files.layout import Buffer
from pvspec.support.cache import keep
from pvspec.support.paths import cache_directory

_MOST = 4  # kernels of 40 to 90 MiB
_WORTH_IT = 1 << 20  # bytes of a payload; less is unpacked before it is found


def unpacked(payload: bytes, unpack: Callable[[], bytes]) -> Buffer:
    """What a compressed payload unpacks to; `unpack`, which is asked if that is not kept, may raise what it likes."""
    cache = cache_directory()
    if cache is None or len(payload) < _WORTH_IT:
        return unpack()
    place = cache / f"vmlinux-{hashlib.sha256(payload).hexdigest()[:32]}"
    known = _mapped(place)
    if known is not None:
        return known
    contents = unpack()
    keep(place, contents, _MOST)
    return contents


def _mapped(place: Path) -> mmap.mmap | None:
    with suppress(OSError, ValueError), place.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return None
