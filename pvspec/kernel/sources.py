"""Which of an image's symbol sources counts."""

from __future__ import annotations

from pathlib import Path

from pvspec.kernel.elf import ElfFile
from pvspec.kernel.errors import ImageError
from pvspec.kernel.kallsyms import decode_kallsyms
from pvspec.kernel.layout import Layout
from pvspec.kernel.symbols import SymbolTable, place_symbols, read_symtab, read_system_map


def read_symbols(path: Path, elf: ElfFile, layout: Layout, system_map: Path | None) -> SymbolTable:
    """A System.map if one is given, else the ELF symbol table, else the kernel's kallsyms, else no symbols.

    Raises ImageError where the source is damaged.
    """
    end = layout.base + len(layout.memory)
    if system_map is not None:
        return SymbolTable("System.map", read_system_map(system_map), end)
    try:
        if raw := read_symtab(elf):
            return SymbolTable(".symtab", place_symbols(raw, layout.sections, elf.relocatable), end)
        if found := decode_kallsyms(layout.memory, layout.base, elf.bits):
            return SymbolTable("kallsyms", found, end)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    return SymbolTable("none", (), end)
