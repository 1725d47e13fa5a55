"""The memory of a running kernel, as a hypervisor or crash tool saved it, or as a debugger reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from pvspec.kernel.dump.candidates import AddressSpace, of_core, of_raw, of_reader
from pvspec.kernel.dump.core import read_core
from pvspec.kernel.dump.fingerprint import Fingerprint
from pvspec.kernel.dump.memory import Contents, DumpFile, File, Memory
from pvspec.kernel.dump.search import Search
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.elf_headers import MAGIC
from pvspec.kernel.files.file_bytes import unreadable
from pvspec.kernel.files.reader import Reader, Source, is_reader, name_of
from pvspec.kernel.image.image import KernelImage


class Dump:
    """Memory of a running kernel at its own virtual addresses, and the slide: by how many bytes KASLR moved it.

    A dump of bytes can be pickled, and so can one of a reader if the reader can be; a dump of a file on disk cannot
    (TypeError), because another process may find a different dump at that path. All of them can be copied.

    `units` is the work that it took to find the kernel.
    """

    def __init__(self, name: str, memory: Memory, rise: int, slide: int, units: int) -> None:
        """`rise` is how far the kernel's addresses are above those of the `memory`."""
        self.name, self.slide, self.units = name, slide, units
        self._memory, self._rise = memory, rise

    def __repr__(self) -> str:
        return f"<Dump {self.name}: slide {self.slide:#x}>"

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a virtual address; raises ImageError if the dump does not have them all."""
        found = self.up_to(address, size)
        if len(found) < size:
            raise ImageError(f"{self.name}: has only {len(found)} of the {size} bytes at {address:#x}")
        return found

    def up_to(self, address: int, size: int) -> bytes:
        """As many bytes, up to `size`, as the dump has at a virtual address, without a gap.

        Raises ImageError only if a reader returned something invalid.
        """
        try:
            return self._memory.up_to(address - self._rise, size)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error


def open_dump(source: Source, image: KernelImage, *, slide: int | None = None, name: str | None = None) -> Dump:
    """The memory of a machine that runs the kernel of `image`; `image.moved(dump.slide)` is the kernel where it runs.

    `source` is a path or the contents of a file: an ELF core (QEMU's dump-guest-memory, /proc/kcore), the image's
    memory from its base on, or the image's loaded segments one after the other. Or it is a `Reader` of the running
    kernel's virtual memory. `slide` says where the kernel must be; an image that was moved implies it. `name` is
    what messages call the dump: by default, the path, or `<dump>`.

    Raises ImageError if the dump cannot be read, or is of another kernel, or its kernel is elsewhere.
    """
    name = name_of(source, name, "<dump>")
    stated = slide if slide is not None else image.slide or None
    try:
        dump = _open(name, source, image, stated)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    if stated is not None and dump.slide != stated:
        raise ImageError(
            f"{name}: its kernel is {dump.slide:#x} bytes above where it was linked, not {stated:#x}: "
            f"predict it there (--kaslr {dump.slide:#x})"
        )
    return dump


def _open(name: str, source: Source, image: KernelImage, stated: int | None) -> Dump:
    _ = image.relocations  # read on the image's own account
    work = image.work.continued()
    fingerprint = Fingerprint(image, work)
    search = Search(fingerprint, image.slide if stated is None else stated)
    found = search.find(list(_address_spaces(source, fingerprint, stated)))
    return Dump(name, found.memory, found.slide - image.slide - found.above, found.slide, work.units - image.work.units)


def _address_spaces(source: Source, fingerprint: Fingerprint, stated: int | None) -> Iterable[AddressSpace]:
    """The memory to search; raises ImageError."""
    image = fingerprint.image
    if is_reader(source):
        return [of_reader(cast(Reader, source), stated, image)]
    try:
        file: File
        if isinstance(source, str | os.PathLike):
            file = DumpFile(Path(source))
        else:
            file = Contents(bytes(cast(memoryview, source)))
        if file.at(0, len(MAGIC)) != MAGIC:
            return [of_raw(file, image, fingerprint.work)]
        return of_core(read_core(file.stream(), fingerprint.work), file, fingerprint)
    except (OSError, ValueError) as error:
        raise unreadable(error) from error
