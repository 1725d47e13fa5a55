"""Files of symbols: a System.map, Debian's package of debug symbols, or a vmlinux that was not stripped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files import elf, elf_headers, package
from pvspec.kernel.files.file_bytes import unreadable
from pvspec.kernel.files.layout import Buffer
from pvspec.kernel.files.reader import Source, contents, name_of
from pvspec.kernel.files.streams import read_bounded
from pvspec.kernel.symbols.table import Symbol, place_symbols, read_symtab, read_system_map
from pvspec.kernel.work import Work

_MAX_STREAM = 128 << 20
"""Bytes of a file of symbols without a known size, such as a pipe. A larger one is refused: give a regular file."""


class SymbolFile(NamedTuple):
    """A file of symbols that the user chose: what messages call it, and where its bytes come from."""

    name: str
    source: Path | bytes

    @classmethod
    def of(cls, source: Source) -> SymbolFile:
        """The file at a path, read when needed; or with these contents; or read by a reader. Raises ImageError."""
        name = name_of(source, None, "<symbols>")
        if isinstance(source, str | os.PathLike):
            return cls(name, Path(source))
        try:
            return cls(name, contents(source)[:])
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error

    def __repr__(self) -> str:
        return f"<SymbolFile {self.name}>"

    def symbols(self, work: Work) -> Iterator[Symbol]:
        """The symbols of the file, whose format is recognised by content; raises ImageError, which names the file."""
        try:
            yield from _symbols(self._contents(), work)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error

    def _contents(self) -> Buffer:
        """The contents: read when asked for, unless nobody knows how many they are, as of /proc/kallsyms and pipes."""
        if isinstance(self.source, bytes):
            return self.source
        try:
            if self.source.is_file() and self.source.stat().st_size:
                return contents(self.source)
            return read_bounded(self.source, _MAX_STREAM)
        except (OSError, ValueError) as error:
            raise unreadable(error) from error


def _symbols(data: Buffer, work: Work) -> Iterator[Symbol]:
    start = data[:16]
    if start.startswith(package.MAGIC):
        return read_system_map(package.extract_system_map(data, work), work)
    return _of_elf(data, work) if start.startswith(elf_headers.MAGIC) else read_system_map(data, work)


def _of_elf(data: Buffer, work: Work) -> Iterator[Symbol]:
    image = elf.parse_elf(data, work)
    raw = read_symtab(image, work)
    if image.relocatable:
        raise ImageError("is a module, not a file of symbols of the kernel")
    if not raw:
        raise ImageError("is a stripped ELF file: it lacks a symbol table")
    return place_symbols(raw, image.sections, False)
