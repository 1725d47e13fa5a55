"""Data symbols that a kernel's kallsyms lacks, found from the kernel's own code and data.

Without CONFIG_KALLSYMS_ALL, as in Debian's 686 kernels, kallsyms has only the symbols of functions. The data symbols
that patching needs are found here, for i386 (Linux 5.10 to 6.1):

* __start_mcount_loc, __stop_mcount_loc: ftrace_init (kernel/trace/ftrace.c) refers to them. Between them are pointers
  to calls of __fentry__.
* __start___jump_table, __stop___jump_table: jump_label_init (kernel/jump_label.c) refers to them. Between them is an
  array of struct jump_entry (include/linux/jump_label.h), each of which fits the code at its site.
* the keys of static calls: see static_keys.

Symbols that are not certain are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from pvspec.kernel.files.words import records
from pvspec.kernel.symbols.code_view import WORD, CodeView
from pvspec.kernel.symbols.static_keys import find_keys
from pvspec.kernel.symbols.table import Symbol
from pvspec.kernel.work import Work

_MAX_MEMORY = 48 << 20
"""Bytes of an i386 kernel in which data symbols are looked for: more than twice the size of any of Debian's."""
_MAX_FUNCTION = 4096
"""Bytes of a function in which addresses of a table are looked for; those after them are not found."""
_RECORDS = range(32, 100_000)
_MAX_PAIRS = 8
"""Pairs of addresses that may be the ends of a table and are looked at; later ones are not."""
_RECORD_WORK, _FUNCTION_WORK = 16, 10_000  # units: a record that may be a table's, a function's instructions
_CALL = struct.Struct("<BI")
_ENTRY = struct.Struct("<III")
_POINTER = struct.Struct("<I")
# What may be at the site of a jump label instead of a jump: arch/x86/include/asm/nops.h
_NOPS = tuple(map(bytes.fromhex, ("3e8d742600", "0f1f440000", "89f6", "6690")))


class _Table(NamedTuple):
    """A table: its symbols, the function that refers to them, the size of a record in bytes.

    `fits` tells whether there are only records from one address to another.
    """

    bounds: tuple[str, str]
    walker: str
    size: int
    fits: Callable[[CodeView, int, int], bool]


def find_data_symbols(
    memory: bytearray, base: int, executable: Sequence[tuple[int, int]], symbols: Sequence[Symbol], work: Work
) -> list[Symbol]:
    """The data symbols found in the i386 kernel in `memory`, which begins at the virtual address `base`.

    `executable` are the [start, end) ranges of its text, ascending and coalesced, `symbols` those of its functions.
    """
    if len(memory) > _MAX_MEMORY or base + len(memory) > WORD:
        return []
    view = CodeView(memory, base, executable, symbols, work)
    calls, jumps = _find(view, _CALL_SITES), _find(view, _JUMP_ENTRIES)
    return [*calls, *jumps, *find_keys(view, range(*(symbol.address for symbol in calls)) if calls else range(0))]


def _find(view: CodeView, table: _Table) -> list[Symbol]:
    """The table's symbols, if its walker refers to exactly one pair of addresses that can be them; else empty."""
    view.work.add(_FUNCTION_WORK, f"the search for {table.bounds[0]}")
    sized = (
        (start, end)
        for start, end in pairwise(_addresses_in(view, table.walker))
        if not (end - start) % table.size and (end - start) // table.size in _RECORDS
    )
    found = [bounds for bounds in islice(sized, _MAX_PAIRS) if _fits(view, table, *bounds)]
    if len(found) != 1:
        return []
    return [Symbol(address, "D", name) for address, name in zip(found[0], table.bounds, strict=True)]


def _fits(view: CodeView, table: _Table, start: int, end: int) -> bool:
    view.work.add((end - start) // table.size * _RECORD_WORK, f"the search for {table.bounds[0]}")
    return table.fits(view, start, end)


def _addresses_in(view: CodeView, function: str) -> list[int]:
    """The addresses in a function's instructions, ascending: an address is at the end of its instruction."""
    start, end = view.function(view.named(function) or 0)
    code = view.instructions(start, min(end, start + _MAX_FUNCTION))
    named = {int.from_bytes(instruction[-4:], "little") for _, instruction in code if len(instruction) > 4}
    return sorted(address for address in named if view.base <= address <= view.end and not address % 4)


def _are_call_sites(view: CodeView, start: int, end: int) -> bool:
    """Whether there are pointers to calls of __fentry__."""
    callee, base = view.named("__fentry__"), view.base
    sites = [site for (site,) in records(_POINTER, view.read(start, end))]
    if callee is None or not all(map(view.is_text, sites)):
        return False
    return all(
        view.memory[site - base : site - base + 5] == _CALL.pack(0xE8, (callee - site - 5) & WORD) for site in sites
    )


def _are_jump_entries(view: CodeView, start: int, end: int) -> bool:
    """Whether there are records {s32 site, s32 target, s32 key}, each relative to its own address, that fit the code.

    The low bits of the key are flags.
    """
    entries = zip(range(start, end, _ENTRY.size), records(_ENTRY, view.read(start, end)), strict=True)
    return all(
        view.is_data((at + 8 + key & ~3) & WORD) and _is_jump(view, at + site & WORD, at + 4 + target & WORD)
        for at, (site, target, key) in entries
    )


def _is_jump(view: CodeView, site: int, target: int) -> bool:
    """Whether at the site there is a nop, or a jump to the target."""
    if not (view.is_text(site) and view.is_text(target)):
        return False
    code = view.read(site, site + 5)
    if code[0] == 0xEB:
        return site + 2 + int.from_bytes(code[1:2], signed=True) == target
    return view.target(site) == target if code[0] == 0xE9 else code.startswith(_NOPS)


_CALL_SITES = _Table(("__start_mcount_loc", "__stop_mcount_loc"), "ftrace_init", 4, _are_call_sites)
_JUMP_ENTRIES = _Table(
    ("__start___jump_table", "__stop___jump_table"), "jump_label_init", _ENTRY.size, _are_jump_entries
)
