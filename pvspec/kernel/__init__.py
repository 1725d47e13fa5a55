"""Kernel images as loaded into memory (vmlinux, bzImage, module, Debian package), and dumps of running kernels."""

from pvspec.kernel.dump.dump import Dump, open_dump
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Section
from pvspec.kernel.files.reader import Reader, Source
from pvspec.kernel.image.image import KernelImage, Unresolved
from pvspec.kernel.image.loader import open_kernel

__all__ = [
    "Dump",
    "ImageError",
    "KernelImage",
    "Reader",
    "Section",
    "Source",
    "Unresolved",
    "open_dump",
    "open_kernel",
]
