"""Symbols that a user gives: a System.map, Debian's package of debug symbols, or a vmlinux that was not stripped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files import elf, package
from pvspec.kernel.symbols.table import Symbol, place_symbols, read_symtab, read_system_map


def read_given(path: Path) -> Iterator[Symbol]:
    """The symbols of the file, whose content says what it is; raises ImageError."""
    try:
        with path.open("rb") as file:
            start = file.read(len(package.MAGIC))
            if start == package.MAGIC:
                return read_system_map(path, package.extract_system_map(file))
            contents = start + file.read()
        return _of_elf(contents) if start.startswith(elf.MAGIC) else read_system_map(path, contents)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
    except ImageError as error:
        raise error if str(error).startswith(str(path)) else ImageError(f"{path}: {error}") from error


def _of_elf(contents: bytes) -> Iterator[Symbol]:
    image = elf.parse_elf(contents)
    raw = read_symtab(image)
    if image.relocatable or not raw:
        raise ImageError("is a module, or has no symbol table")
    return place_symbols(raw, image.sections, False)
