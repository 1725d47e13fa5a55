"""The one error of this package."""

from __future__ import annotations


class ImageError(Exception):
    """A kernel image cannot be read, or not be written; the text names the file and what is wrong."""
