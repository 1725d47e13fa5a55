"""Choosing the source of an image's symbols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import ElfFile
from pvspec.kernel.files.layout import Layout
from pvspec.kernel.symbols.data_symbols import find_data_symbols
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.symbols.symbol_file import SymbolFile
from pvspec.kernel.symbols.table import Symbol, SymbolTable, place_symbols, read_symtab
from pvspec.kernel.work import Work

_BANNER = b"Linux version "
_COMPARED_WORK = 6  # units, for a symbol


def read_symbols(name: str, elf: ElfFile, layout: Layout, file: SymbolFile | None, work: Work) -> SymbolTable:
    """The symbols of a symbol file if there is one, else the ELF symbol table, else the kernel's kallsyms, else none.

    `name` is what messages call the image. If a 32-bit kernel's kallsyms lacks data symbols, those that can be found in
    the memory are added. Raises ImageError if the source is damaged, or the file is of another build.
    """
    end = layout.base + len(layout.memory)
    if file is not None:
        symbols = _placed(file.symbols(work), layout)
        _check_same_build(file.name, symbols, name, elf, layout, work)
        return SymbolTable("System.map", symbols, end)
    try:
        own = _own(elf, layout, work)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    if own.source == "kallsyms" and elf.bits == 32 and (found := _find_data(layout, list(own), work)):
        return SymbolTable("kallsyms, found", [*own, *found], end)
    return own


def _own(elf: ElfFile, layout: Layout, work: Work) -> SymbolTable:
    """The image's own symbols; ImageError if they are damaged."""
    end = layout.base + len(layout.memory)
    if raw := read_symtab(elf, work):
        return SymbolTable(".symtab", _placed(place_symbols(raw, layout.sections, elf.relocatable), layout), end)
    decoded = decode_kallsyms(layout.memory, layout.base, elf.bits, work)
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


def _find_data(layout: Layout, symbols: Sequence[Symbol], work: Work) -> list[Symbol]:
    """Without CONFIG_KALLSYMS_ALL all local symbols are functions, though there is a global "D": __init_begin."""
    if any(symbol.kind in "bdr" for symbol in symbols):
        return []
    return find_data_symbols(layout.memory, layout.base, layout.executable, symbols, work)


def _check_same_build(
    file: str, symbols: Sequence[Symbol], image: str, elf: ElfFile, layout: Layout, work: Work
) -> None:
    """Functions in both must have the same addresses; if there are none, the file's linux_banner must be a banner."""
    own: Sequence[Symbol] = ()
    with suppress(ImageError):  # damaged, which may be why a symbol file is used
        own = [symbol for symbol in _own(elf, layout, work) if symbol.kind in "tT"]
    if not own:
        _check_banner(file, symbols, image, layout)
        return
    work.add((len(own) + len(symbols)) * _COMPARED_WORK, f"comparing {len(own)} functions with {file}")
    functions = {symbol.name for symbol in own}
    common = [symbol for symbol in symbols if symbol.name in functions]
    if not common:
        raise ImageError(f"{file}: symbols of another kernel: it lacks all functions of {image}")
    names, known = {symbol.name for symbol in common}, {(symbol.name, symbol.address) for symbol in common}
    for symbol in own:
        if symbol.name in names and (symbol.name, symbol.address) not in known:
            there = min(address for name, address in known if name == symbol.name)
            raise _another_build(file, f"{symbol.name} is at {there:#x}, but in {image} at {symbol.address:#x}")


def _check_banner(file: str, symbols: Sequence[Symbol], image: str, layout: Layout) -> None:
    for symbol in symbols:
        at = symbol.address - layout.base
        if symbol.name == "linux_banner" and (at < 0 or not layout.memory.startswith(_BANNER, at)):
            raise _another_build(file, f"linux_banner is at {symbol.address:#x}, where {image} has something else")


def _another_build(file: str, difference: str) -> ImageError:
    return ImageError(f"{file}: symbols of another build: {difference}")
