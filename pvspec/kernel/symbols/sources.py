"""Which of an image's symbol sources counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import ElfFile
from pvspec.kernel.files.layout import Layout
from pvspec.kernel.symbols.finder import find_data_symbols
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.symbols.supplied import read_given
from pvspec.kernel.symbols.table import Symbol, SymbolTable, place_symbols, read_symtab

_BANNER = b"Linux version "


def read_symbols(path: Path, elf: ElfFile, layout: Layout, system_map: Path | None) -> SymbolTable:
    """A System.map if one is given, else the ELF symbol table, else the kernel's kallsyms, else no symbols.

    To a 32-bit kernel's kallsyms without data symbols those are added that can be found in the memory.
    Raises ImageError where the source is damaged, or the System.map is of another build.
    """
    end = layout.base + len(layout.memory)
    if system_map is not None:
        given = _placed(read_given(system_map), layout)
        _check_same_build(system_map, given, path, elf, layout)
        return SymbolTable("System.map", given, end)
    try:
        own = _own(elf, layout)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    if own.source == "kallsyms" and elf.bits == 32 and (found := _find_data(layout, list(own))):
        return SymbolTable("kallsyms, found", [*own, *found], end)
    return own


def _own(elf: ElfFile, layout: Layout) -> SymbolTable:
    """What the image itself says; ImageError where that is damaged."""
    end = layout.base + len(layout.memory)
    if raw := read_symtab(elf):
        return SymbolTable(".symtab", _placed(place_symbols(raw, layout.sections, elf.relocatable), layout), end)
    told = decode_kallsyms(layout.memory, layout.base, elf.bits)
    return SymbolTable("kallsyms" if told else "none", told, end)


def _placed(symbols: Iterable[Symbol], layout: Layout) -> list[Symbol]:
    """Symbols of a linked kernel where it lies: those of the image move with it, absolute and per-CPU ones do not."""
    slide = layout.slide
    start, end = layout.base - slide, layout.base - slide + len(layout.memory)
    if not slide:
        return list(symbols)
    return [
        symbol._replace(address=symbol.address + slide) if start <= symbol.address <= end else symbol
        for symbol in symbols
    ]


def _find_data(layout: Layout, symbols: Sequence[Symbol]) -> list[Symbol]:
    """Without CONFIG_KALLSYMS_ALL there is no local symbol but of functions, though __init_begin is a "D"."""
    if any(symbol.kind in "bdr" for symbol in symbols):
        return []
    return find_data_symbols(layout.memory, layout.base, layout.executable, symbols)


def _check_same_build(system_map: Path, given: Sequence[Symbol], path: Path, elf: ElfFile, layout: Layout) -> None:
    """The functions that both know must lie at the same addresses; without any, the banner where the map has it."""
    own: Sequence[Symbol] = ()
    with suppress(ImageError):  # damaged, which may be why a System.map was given
        own = [symbol for symbol in _own(elf, layout) if symbol.kind in "tT"]
    if not own:
        _check_banner(system_map, given, path, layout)
        return
    places = defaultdict(set)
    for symbol in given:
        places[symbol.name].add(symbol.address)
    common = [symbol for symbol in own if symbol.name in places]
    if not common:
        raise ImageError(f"{system_map}: has none of the functions of {path}: it is of another kernel")
    for symbol in common:
        if symbol.address not in places[symbol.name]:
            raise _another_build(system_map, min(places[symbol.name]), symbol.name, path, f"{symbol.address:#x}")


def _check_banner(system_map: Path, given: Sequence[Symbol], path: Path, layout: Layout) -> None:
    for symbol in given:
        at = symbol.address - layout.base
        if symbol.name == "linux_banner" and (at < 0 or not layout.memory.startswith(_BANNER, at)):
            raise _another_build(system_map, symbol.address, symbol.name, path, "something else there")


def _another_build(system_map: Path, address: int, name: str, path: Path, instead: str) -> ImageError:
    return ImageError(f"{system_map}: has {name} at {address:#x}, and {path} has {instead}: it is of another build")
