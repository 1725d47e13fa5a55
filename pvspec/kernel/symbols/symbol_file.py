"""Files of symbols: a System.map, Debian's package of debug symbols, or a vmlinux that was not stripped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files import elf, elf_headers, package
from pvspec.kernel.files.file_bytes import unreadable
from pvspec.kernel.files.reader import MAX_FILE, Source, contents, name_of
from pvspec.kernel.symbols.table import Symbol, place_symbols, read_symtab, read_system_map
from pvspec.kernel.work import Work

_PIECE = 1 << 20  # bytes


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

    def symbols(self) -> Iterator[Symbol]:
        """The symbols of the file, whose format is recognised by content; raises ImageError, which names the file."""
        try:
            yield from _symbols(self._contents())
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error

    def _contents(self) -> bytes:
        """The contents; not mapped, because /proc/kallsyms and pipes cannot be."""
        if isinstance(self.source, bytes):
            return self.source
        try:
            with self.source.open("rb") as file:
                return b"".join(_pieces(file))
        except (OSError, ValueError) as error:
            raise unreadable(error) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is in a file. Who asks for all that it may have takes that much memory, even for a small one."""
    for _ in range(0, MAX_FILE, _PIECE):
        piece = file.read(_PIECE)
        if not piece:
            return
        yield piece
    if file.read(1):
        raise ImageError(f"is larger than {MAX_FILE >> 20} MiB: not a file of kernel symbols")


def _symbols(data: bytes) -> Iterator[Symbol]:
    if data.startswith(package.MAGIC):
        return read_system_map(package.extract_system_map(data, Work()))
    return _of_elf(data) if data.startswith(elf_headers.MAGIC) else read_system_map(data)


def _of_elf(data: bytes) -> Iterator[Symbol]:
    image = elf.parse_elf(data)
    raw = read_symtab(image)
    if image.relocatable:
        raise ImageError("is a module, not a file of symbols of the kernel")
    if not raw:
        raise ImageError("is a stripped ELF file: it lacks a symbol table")
    return place_symbols(raw, image.sections, False)
