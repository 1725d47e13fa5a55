"""Choosing the source of an image's symbols."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import ElfFile
from pvspec.kernel.files.layout import Layout
from pvspec.kernel.symbols.data_symbols import find_data_symbols
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.symbols.symbol_file import SymbolFile
from pvspec.kernel.symbols.table import Symbol, SymbolTable, place_symbols, read_symtab

_BANNER = b"Linux version "


def read_symbols(name: str, elf: ElfFile, layout: Layout, file: SymbolFile | None) -> SymbolTable:
    """The symbols of a symbol file if there is one, else the ELF symbol table, else the kernel's kallsyms, else none.

    `name` is what messages call the image. If a 32-bit kernel's kallsyms lacks data symbols, those that can be found in
    the memory are added. Raises ImageError if the source is damaged, or the file is of another build.
    """
    end = layout.base + len(layout.memory)
    if file is not None:
        symbols = _placed(file.symbols(), layout)
        _check_same_build(file.name, symbols, name, elf, layout)
        return SymbolTable("System.map", symbols, end)
    try:
        own = _own(elf, layout)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    if own.source == "kallsyms" and elf.bits == 32 and (found := _find_data(layout, list(own))):
        return SymbolTable("kallsyms, found", [*own, *found], end)
    return own


def _own(elf: ElfFile, layout: Layout) -> SymbolTable:
    """The image's own symbols; ImageError if they are damaged."""
    end = layout.base + len(layout.memory)
    if raw := read_symtab(elf):
        return SymbolTable(".symtab", _placed(place_symbols(raw, layout.sections, elf.relocatable), layout), end)
    decoded = decode_kallsyms(layout.memory, layout.base, elf.bits)
    return SymbolTable("kallsyms" if decoded else "none", decoded, end)


def _placed(symbols: Iterable[Symbol], layout: Layout) -> list[Symbol]:
    """The symbols of a linked kernel where it is now: the image's move with it, absolute and per-CPU ones do not."""
    slide = layout.slide
    start, end = layout.base - slide, layout.base - slide + len(layout.memory)
    if not slide:
        return list(symbols)
    return [
        symbol._replace(address=symbol.address + slide) if start <= symbol.address <= end else symbol
        for symbol in symbols
    ]


def _find_data(layout: Layout, symbols: Sequence[Symbol]) -> list[Symbol]:
    """Without CONFIG_KALLSYMS_ALL all local symbols are functions, though there is a global "D": __init_begin."""
    if any(symbol.kind in "bdr" for symbol in symbols):
        return []
    return find_data_symbols(layout.memory, layout.base, layout.executable, symbols)


def _check_same_build(file: str, symbols: Sequence[Symbol], image: str, elf: ElfFile, layout: Layout) -> None:
    """Functions in both must have the same addresses; if there are none, the file's linux_banner must be a banner."""
    own: Sequence[Symbol] = ()
    with suppress(ImageError):  # damaged, which may be why a symbol file is used
        own = [symbol for symbol in _own(elf, layout) if symbol.kind in "tT"]
    if not own:
        _check_banner(file, symbols, image, layout)
        return
    addresses = defaultdict(set)
    for symbol in symbols:
        addresses[symbol.name].add(symbol.address)
    common = [symbol for symbol in own if symbol.name in addresses]
    if not common:
        raise ImageError(f"{file}: symbols of another kernel: it lacks all functions of {image}")
    for symbol in common:
        if symbol.address not in addresses[symbol.name]:
            there = min(addresses[symbol.name])
            raise _another_build(file, f"{symbol.name} is at {there:#x}, but in {image} at {symbol.address:#x}")


def _check_banner(file: str, symbols: Sequence[Symbol], image: str, layout: Layout) -> None:
    for symbol in symbols:
        at = symbol.address - layout.base
        if symbol.name == "linux_banner" and (at < 0 or not layout.memory.startswith(_BANNER, at)):
            raise _another_build(file, f"linux_banner is at {symbol.address:#x}, where {image} has something else")


def _another_build(file: str, difference: str) -> ImageError:
    return ImageError(f"{file}: symbols of another build: {difference}")
