"""Kernels as what they will be in memory: vmlinux, bzImage, module or package; and their memory as they run."""

from __future__ import annotations

import os
from pathlib import Path

from pvspec.kernel.dump.dump import Dump, find_slide
from pvspec.kernel.dump.dump import open_dump as open_dump_at
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Section
from pvspec.kernel.image.image import KernelImage, Unresolved
from pvspec.kernel.image.loader import open_image

__all__ = ["Dump", "ImageError", "KernelImage", "Section", "Unresolved", "open_dump", "open_image", "open_kernel"]


def open_kernel(
    path: str | os.PathLike[str],
    *,
    symbols: str | os.PathLike[str] | None = None,
    vmlinux: KernelImage | None = None,
    load_address: int | None = None,
) -> KernelImage:
    """As `open_image`."""
    return open_image(
        path, load_address=load_address, kernel=vmlinux, symbols=None if symbols is None else Path(symbols)
    )


def open_dump(path: str | os.PathLike[str], kernel: KernelImage) -> Dump:
    """The memory of a machine that runs this kernel, wherever KASLR has put it; raises ImageError."""
    moved = kernel.moved(find_slide(path, kernel))
    return open_dump_at(path, moved)
