"""The one error of this package."""

from __future__ import annotations

from pvspec.engine.errors import PvspecError


class ImageError(PvspecError):
    """A kernel image cannot be read, or not be written; the text names the file and what is wrong."""
