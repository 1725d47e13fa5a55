"""Files that a command writes: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from pvspec.cli.report import Failure


def write(path: str | os.PathLike[str], data: bytes) -> bool:
    """Write a file, unless it has these bytes already; whether it was written. Raises Failure."""
    from pvspec.support.output import write_file

    try:
        return write_file(Path(path), data)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


def replace(path: str, data: memoryview) -> None:
    """Write a file, whatever it held; raises Failure."""
    from pvspec.support.output import replacing

    try:
        with replacing(Path(path)) as file:
            file.write(data)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None
