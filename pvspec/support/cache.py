"""Results that are worth keeping, in the user's cache: a file for each, and a few of each kind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pvspec.support.output import replacing


def keep(path: Path, data: bytes, most: int) -> None:
    """Write a file, KIND-DIGEST by name, and remove the oldest of its kind beyond `most`.

    Where that is impossible nothing happens: what is kept can be had again.
    """
    with suppress(OSError):
        with replacing(path) as file:
            file.write(data)
        kind, _, _ = path.name.partition("-")
        for old in sorted(path.parent.glob(f"{kind}-*"), key=lambda file: file.stat().st_mtime)[:-most]:
            old.unlink()
