"""The error that this package raises."""

from __future__ import annotations

from pvspec.engine.errors import PvspecError


class ImageError(PvspecError):
    """A kernel image cannot be read or written; the message names the file and the problem."""
