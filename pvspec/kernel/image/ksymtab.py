"""The symbols that a kernel or a module exports: EXPORT_SYMBOL, sections __ksymtab and __ksymtab_gpl.

struct kernel_symbol of include/linux/export-internal.h with CONFIG_HAVE_ARCH_PREL32_RELOCATIONS, which all x86
kernels since 4.19 have: {s32 value, s32 name, s32 namespace}, each relative to its own address (the third field since
Linux 5.4). This is what a module is linked against, and unlike the kallsyms of many 32-bit kernels it has data too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf import MAX_NAMES
from pvspec.kernel.files.words import records

if TYPE_CHECKING:
    from pvspec.kernel.image.image import KernelImage

_RECORD = struct.Struct("<iii")
_SECTIONS = ("__ksymtab", "__ksymtab_gpl")
_MAX_NAME = 512
"""Bytes of the name of an export, with its end: a longer one is passed over."""
_MAX_RECORDS = 250_000
"""Exports in one section of a kernel or module; Debian's kernels have 10,000. One with more is refused."""
_RECORD_WORK = 8  # units


def read_exports(image: KernelImage) -> dict[str, int]:
    """Name to virtual address; raises ImageError for a table larger than any kernel's.

    Tables of another layout are ignored, and so are records with invalid pointers.
    """
    found: dict[str, int] = {}
    left = MAX_NAMES
    for section in _SECTIONS:
        for name, address in _records(image, section):
            found[name] = address
            left -= len(name)
            if left < 0:
                raise ImageError(f"{image.name}: the names in {section} have more than {MAX_NAMES >> 20} MiB")
    return found


def _records(image: KernelImage, name: str) -> Iterator[tuple[str, int]]:
    section = image.sections.get(name)
    table = image.section_bytes(name) if section else b""
    if section is None or len(table) % _RECORD.size:
        return
    if len(table) > _MAX_RECORDS * _RECORD.size:
        raise ImageError(f"{image.name}: {name} of {len(table)} bytes is larger than any kernel's")
    count = len(table) // _RECORD.size
    image.work.add(count * _RECORD_WORK, f"{image.name}: {count} exports")
    for offset, (value, text, _) in zip(range(0, len(table), _RECORD.size), records(_RECORD, table), strict=True):
        place = section.address + offset
        symbol = _string(image, place + 4 + text)
        if symbol:
            yield symbol, place + value


def _string(image: KernelImage, address: int) -> str:
    start = address - image.base
    end = image.memory.find(b"\0", start, start + _MAX_NAME) if 0 <= start < len(image.memory) else -1
    return image.memory[start:end].decode("latin-1") if end >= 0 else ""
