"""Files that may be pipes or devices, read up to a bound."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.file_bytes import open_nonblocking

_PIECE = 1 << 20  # bytes
_MAX_PATIENCE = 5
"""Seconds to wait for somebody who opens a pipe to write to it. A pipe without a writer is refused; one who has opened
it may take as long as he likes."""


def read_bounded(path: Path, most: int) -> bytes:
    """All bytes of a file, whatever it is; ImageError if it has more than `most`, or is a pipe without a writer.

    Raises OSError or ValueError if it cannot be opened or read.
    """
    found = bytearray()
    with open(path, "rb", buffering=0, opener=open_nonblocking) as file:
        poll = select.poll()
        poll.register(file, select.POLLIN)
        is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        while True:
            piece: bytes | None = file.read(_PIECE)
            if piece is None:  # nothing as yet
                poll.poll()
            elif piece:
                found += piece
                if len(found) > most:
                    raise ImageError(f"it is larger than {most} bytes")
            elif found or not is_pipe:
                return bytes(found)
            elif not poll.poll(_MAX_PATIENCE * 1000):
                raise ImageError(f"it is a pipe to which nobody has written for {_MAX_PATIENCE} seconds")
            else:
                is_pipe = False  # a writer has come; what is read next is his, or the end
