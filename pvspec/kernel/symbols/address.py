"""Addresses as people write them, and as kernels, perf and debuggers print them.

    start_kernel                  a symbol
    do_one_initcall+0x76          an offset from it; without 0x the offset is decimal, as gdb prints it
    do_one_initcall+0x76/0x220    as in an oops: after the slash the symbol's size
    0xffffffff810024d6            an address, here or with an offset
    ffffffff810024d6              the same as kallsyms prints it: 16 hexadecimal digits, or 8
    18446744071578853590          decimal, as in JSON: any other number of digits

A symbol takes precedence over a number: `deadbeef` is the function if there is one. If several symbols have the name,
the global one is meant; local ones are told apart by size, and without a size the error lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest, nsmallest
from typing import TYPE_CHECKING

from pvspec.kernel.errors import ImageError

if TYPE_CHECKING:
    from pvspec.kernel.symbols.table import SymbolTable

_NUMBER = r"0[xX][0-9a-fA-F]+|[0-9]+"
_PLACE = re.compile(rf"(?P<start>[^+/\s]+)(?:\+(?P<offset>{_NUMBER})(?:/(?P<size>{_NUMBER}))?)?")
_BARE = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{8}")
_END = 1 << 64
_NEAR = 32  # neighbours of a misspelt name, one of which may be meant
_SHOWN = 4
_MAX_TEXT = 1024
"""Characters of an address or symbol that is asked for; a longer text is refused."""
_MAX_GUESSED = 128
"""Characters of a misspelt name, and of those that it may be: for longer ones none is suggested."""


def parse_address(symbols: SymbolTable, text: str) -> int:
    """The virtual address that a text means, with these symbols; raises ImageError."""
    found = _PLACE.fullmatch(text.strip()) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise ImageError(f"{_shown(text)} is not an address: write SYMBOL, SYMBOL+0xOFFSET or 0xADDRESS")
    start, offset, size = found["start"], found["offset"], found["size"]
    address = _start(symbols, start, None if size is None else _number(size)) + (_number(offset) if offset else 0)
    if address >= _END:
        raise ImageError(f"{_shown(text)} is beyond the last address, {_END - 1:#x}")
    return address


def _number(text: str) -> int:
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)


def _start(symbols: SymbolTable, text: str, size: int | None) -> int:
    """The address of a symbol, or a number."""
    if symbols.named(text):
        return _of_symbol(symbols, text, size)
    if _BARE.fullmatch(text):
        return int(text, 16)
    if re.fullmatch(_NUMBER, text):
        return _number(text)
    if not len(symbols):
        raise ImageError(
            f"there is no symbol {_shown(text)}: the image lacks symbols; give a System.map with --symbols"
        )
    near = _nearest(text, symbols.names())
    raise ImageError(f"there is no symbol {_shown(text)}" + (f"; did you mean {near}?" if near else ""))


def _of_symbol(symbols: SymbolTable, name: str, size: int | None) -> int:
    """The only symbol, or the global one of several, or the one of that size."""
    found = symbols.named(name)
    chosen = [symbol for symbol in found if symbol.kind.isupper()] or found
    addresses = {symbol.address for symbol in chosen}
    if len(addresses) > 1 and size is not None:
        addresses = {address for address in addresses if symbols.size_at(address) == size} or addresses
    if len(addresses) == 1:
        return addresses.pop()
    listed = [f"{address:#x}" for address in sorted(addresses)[:_SHOWN]]
    more = ", …" if len(addresses) > _SHOWN else ""
    raise ImageError(f"{len(addresses)} symbols are named {name}: give an address ({', '.join(listed)}{more})")


def _nearest(name: str, names: Iterable[str]) -> str | None:
    """A name that may have been meant.

    It compares only the neighbours in the order of names, and in the order of reversed names: a misspelt name nearly
    always begins or ends correctly. Comparing all 200,000 would take seconds.
    """
    from difflib import get_close_matches

    if len(name) > _MAX_GUESSED:
        return None
    short = [other for other in names if len(other) <= _MAX_GUESSED]
    backwards = (near[::-1] for near in _neighbours(name[::-1], [other[::-1] for other in short]))
    near = get_close_matches(name, {*_neighbours(name, short), *backwards}, n=1)
    return near[0] if near else None


def _neighbours(name: str, names: Sequence[str]) -> Iterator[str]:
    """The names next to it in their order, found without sorting all of them."""
    yield from nlargest(_NEAR, (other for other in names if other < name))
    yield from nsmallest(_NEAR, (other for other in names if other >= name))


def _shown(text: str) -> str:
    """The text in one short line: it may be anything."""
    if not text.strip():
        return "an empty text"
    shown = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= 80 else f"{shown[:80]}…"
