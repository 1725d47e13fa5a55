"""The words of a command line that a kernel knows: its own table of them, and what it makes of them silently."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pvspec.engine.command_line import ReadLine, with_dashes
from pvspec.kernel import ImageError, KernelImage

_MAX_WORDS = 4096
"""Words of a kernel's table of parameters that are read, five times those that Debian's kernels have; of a longer table
the first."""
_MAX_WORD = 256
"""Bytes of such a word that are read."""


def warnings(read: ReadLine, image: KernelImage) -> Iterator[str]:
    """What a command line has that the kernel ignores, and what it knows and the spec does not."""
    for word in read.rejected:
        yield f"the command line's `{word}` changes nothing: the kernel knows no such value"
    known = _setup_words(image) if read.unknown else frozenset()
    for name in read.unknown:
        if known is None or with_dashes(name) in known:
            yield (
                f"the command line's `{name}` is not in the spec: if it changes what the kernel patches, "
                "the prediction lacks that"
            )


def _setup_words(image: KernelImage) -> frozenset[str] | None:
    """The words of __setup() and early_param(), with dashes; None if their table is not found.

    It lies between two symbols, a record {text, function, whether it is early} each (Linux 5.10 to 7.3
    include/linux/init.h, struct obs_kernel_param).
    """
    kernel = image.kernel or image
    start, end = (kernel.symbols.address(f"__setup_{end}") for end in ("start", "end"))
    if start is None or end is None:
        return None
    layout = struct.Struct("<QQi4x" if kernel.bits == 64 else "<IIi")
    size = min(max(0, end - start) // layout.size, _MAX_WORDS) * layout.size
    try:
        records = layout.iter_unpack(kernel.read(start, size))
        return frozenset(with_dashes(_word(kernel, address).rstrip("=")) for address, _, _ in records)
    except ImageError:
        return None


def _word(kernel: KernelImage, address: int) -> str:
    """The text at an address; ImageError if there is none."""
    size = min(_MAX_WORD, kernel.end - address)
    return kernel.read(address, size).partition(b"\0")[0].decode("latin-1")
