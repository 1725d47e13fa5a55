"""Writing a patched image: the same ELF file with its contents replaced."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Layout
from pvspec.support.output import replacing


def write_image(path: Path, contents: BinaryIO, layout: Layout, memory: bytes | bytearray | memoryview) -> None:
    """Write `contents` to `path` with the layout's file ranges taken from `memory`; raises ImageError.

    It writes a file beside it and renames that, so `path` never holds half an image; nothing is left after a failure.
    """
    if len(memory) != len(layout.memory):
        raise ImageError(f"{path}: memory of {len(memory)} bytes for an image of {len(layout.memory)}")
    try:
        with replacing(path) as file:
            _write(file, contents, layout, memoryview(memory))
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror or error}") from error


def _write(file: BinaryIO, contents: BinaryIO, layout: Layout, memory: memoryview) -> None:
    copyfileobj(contents, file)
    for offset, address, size in layout.file_ranges:
        file.seek(offset)
        file.write(memory[address - layout.base : address - layout.base + size])
    for offset, edit in layout.header_edits.items():
        file.seek(offset)
        file.write(edit)
