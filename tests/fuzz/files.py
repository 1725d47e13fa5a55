"""What targets that read files share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pvspec.kernel import ImageError
from tests.fuzz.cell import expected


@cache
def folder() -> Path:
    """A folder of this process."""
    return Path(mkdtemp())


def written(data: bytes, name: str = "kernel") -> Path:
    """A file with this content."""
    path = folder() / name
    path.write_bytes(data)
    return path


def fails_well(path: Path, use: Callable[[Path], object]) -> str:
    """What it says: it works, or the error names the file."""
    try:
        use(path)
    except ImageError as error:
        assert str(error).startswith(f"{path}:"), error
        return expected(error)
    return ""
