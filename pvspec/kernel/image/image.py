"""A kernel image as loaded into memory, before it patches itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.layout import Layout, Section
from pvspec.kernel.files.reader import as_stream
from pvspec.kernel.work import Work

if TYPE_CHECKING:
    from pvspec.kernel.files.elf import ElfFile
    from pvspec.kernel.image.kaslr import Relocations
    from pvspec.kernel.symbols.symbol_file import SymbolFile
    from pvspec.kernel.symbols.table import SymbolTable

Kind = Literal["vmlinux", "bzimage", "module", "package"]


class Unresolved(NamedTuple):
    """A field of a module that could not be relocated: `size` bytes at `address`, which wait for `symbol`."""

    address: int
    size: int
    symbol: str


@dataclass(frozen=True, eq=False, repr=False)
class KernelImage:
    """What `open_kernel` read.

    `name` is what messages call it: the path, if it was opened by path. `kind` is what the file was, `machine` "i386"
    or "x86_64", `release` the kernel's ("6.1.0-56-cloud-amd64"; empty if the image does not say). `memory` holds every
    byte from the virtual address `base` on, gaps as zeros. `sections` has the sections by name, the first of those that
    share one; `executable` the [start, end) ranges of all executable ones, ascending and coalesced. `kernel` is the
    kernel that a module was relocated against, and `unresolved` lists the fields for which it had no symbol. A kernel
    may be at multiples of `alignment` bytes. `work` is what reading it has asked for so far.
    """

    name: str
    kind: Kind
    bits: int
    machine: str
    release: str
    base: int
    memory: bytearray
    sections: Mapping[str, Section]
    executable: tuple[tuple[int, int], ...]
    kernel: KernelImage | None
    unresolved: Sequence[Unresolved]
    alignment: int
    work: Work
    _elf: ElfFile
    _layout: Layout
    _symbol_file: SymbolFile | None

    def __repr__(self) -> str:
        return (
            f"<KernelImage {self.name}: {self.kind} {self.release or 'of unknown release'} for {self.machine}, "
            f"{self.base:#x} to {self.end:#x}>"
        )

    @property
    def end(self) -> int:
        """The address after the last byte of the memory."""
        return self.base + len(self.memory)

    @property
    def slide(self) -> int:
        """How many bytes the image is above where it was linked."""
        return self._layout.slide

    def moved(self, slide: int) -> KernelImage:
        """This kernel where KASLR may put it, `slide` bytes higher: memory, sections and symbols.

        This requires the table of relocations, which comes after the ELF file in a bzImage. Raises ImageError if the
        table is missing or damaged, or if a kernel cannot be there.
        """
        from pvspec.kernel.image.kaslr import move

        if slide == self.slide:
            return self
        table = self.relocations
        work = self.work.continued()
        try:
            elf, layout = move(self._elf, self._layout, table, self.alignment, slide, work)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error
        sections = {section.name: section for section in reversed(layout.sections)}
        return replace(
            self,
            base=layout.base,
            memory=layout.memory,
            sections=sections,
            executable=layout.executable,
            work=work,
            _elf=elf,
            _layout=layout,
        )

    @cached_property
    def relocations(self) -> Relocations | None:
        """The fields that move with the kernel; None if the image lacks a table of them; raises ImageError."""
        from pvspec.kernel.image.kaslr import read_relocations

        try:
            return read_relocations(self._elf, self._layout, self.work)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error

    @property
    def segments(self) -> list[tuple[int, int]]:
        """What is loaded, in the file's order: virtual addresses (the per-CPU template's is 0) and bytes."""
        return [(segment.address, segment.memory_size) for segment in self._elf.segments if segment.memory_size]

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at a virtual address; raises ImageError unless all of them are in the memory."""
        if size < 0 or not self.base <= address <= self.end - size:
            raise ImageError(
                f"{self.name}: {size} bytes at {address:#x} are outside the image ({self.base:#x} to {self.end:#x})"
            )
        return bytes(self.memory[address - self.base : address - self.base + size])

    def section_bytes(self, name: str) -> bytes:
        """The contents of a section, from memory if it is loaded, else from the file (.data..percpu, .comment).

        Raises ImageError if there is no such section, or if its address is outside all that is loaded.
        """
        section = self.sections.get(name)
        if section is None:
            raise ImageError(f"{self.name}: there is no section {name}")
        if section.address and not section.allocated:
            raise ImageError(
                f"{self.name}: section {name} at {section.address:#x} is outside all loaded segments, so the running "
                "kernel does not have it"
            )
        if section.allocated and section.address and section.size:
            return self.read(section.address, section.size)
        try:
            return self._elf.contents(section)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error

    @cached_property
    def symbols(self) -> SymbolTable:
        """Symbols: from the symbol file if one was given, else the ELF symbol table, else the kernel's own kallsyms.

        Read on first use; raises ImageError if the source is damaged.
        """
        from pvspec.kernel.symbols.sources import read_symbols

        return read_symbols(self.name, self._elf, self._layout, self._symbol_file, self.work)

    @cached_property
    def exports(self) -> Mapping[str, int]:
        """The addresses of what the image exports to modules (EXPORT_SYMBOL), including data; raises ImageError."""
        from pvspec.kernel.image.ksymtab import read_exports

        return read_exports(self)

    def resolve(self, name: str) -> int | None:
        """The address of a symbol for a module: an export or a symbol of this image, or else of its own `kernel`."""
        address = self.exports.get(name)
        if address is None:
            address = self.symbols.address(name)
        if address is None and self.kernel is not None:
            address = self.kernel.resolve(name)
        return address

    def write(self, path: str | os.PathLike[str], memory: bytes | bytearray | memoryview) -> None:
        """Write the ELF file of this image with the contents of `memory`, which is laid out as `self.memory` is.

        For a bzImage or a package, that is the vmlinux inside it, not packed again. For a module it is the file as
        loaded at `base`: relocated, each section header with its address, and the relocation sections that have
        been applied emptied so that nothing applies them twice. What has no bytes in the file (.bss) is not written.
        The file appears complete or not at all; raises ImageError.
        """
        from pvspec.kernel.image.writing import write_image

        write_image(Path(path), as_stream(self._elf.data, size=self._elf.size), self._layout, memory)
