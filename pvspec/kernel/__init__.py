"""Kernel images as what they will be in memory: vmlinux, bzImage, module, or the Debian package of one."""

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Section
from pvspec.kernel.image.image import KernelImage, Unresolved
from pvspec.kernel.image.loader import open_image

__all__ = ["ImageError", "KernelImage", "Section", "Unresolved", "open_image"]
