"""Which of an image's symbol sources counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pvspec.kernel.elf import ElfFile
from pvspec.kernel.errors import ImageError
from pvspec.kernel.finder import find_data_symbols
from pvspec.kernel.kallsyms import decode_kallsyms
from pvspec.kernel.layout import Layout
from pvspec.kernel.symbols import Symbol, SymbolTable, place_symbols, read_symtab, read_system_map


def read_symbols(path: Path, elf: ElfFile, layout: Layout, system_map: Path | None) -> SymbolTable:
    """A System.map if one is given, else the ELF symbol table, else the kernel's kallsyms, else no symbols.

    To a 32-bit kernel's kallsyms without data symbols those are added that can be found in the memory.
    Raises ImageError where the source is damaged.
    """
    end = layout.base + len(layout.memory)
    if system_map is not None:
        return SymbolTable("System.map", read_system_map(system_map), end)
    try:
        if raw := read_symtab(elf):
            return SymbolTable(".symtab", place_symbols(raw, layout.sections, elf.relocatable), end)
        if told := decode_kallsyms(layout.memory, layout.base, elf.bits):
            found = _find_data(layout, told) if elf.bits == 32 else []
            return SymbolTable("kallsyms, found" if found else "kallsyms", [*told, *found], end)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    return SymbolTable("none", (), end)


def _find_data(layout: Layout, symbols: Sequence[Symbol]) -> list[Symbol]:
    """Without CONFIG_KALLSYMS_ALL there is no local symbol but of functions, though __init_begin is a "D"."""
    if any(symbol.kind in "bdr" for symbol in symbols):
        return []
    return find_data_symbols(layout.memory, layout.base, layout.executable, symbols)
