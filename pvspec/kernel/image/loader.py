"""Opening a kernel image; its format is recognised by its content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.reader import Source, as_stream, contents, name_of
from pvspec.kernel.image.image import KernelImage, Kind
from pvspec.kernel.work import Work

if TYPE_CHECKING:
    from pvspec.kernel.files.elf import ElfFile
    from pvspec.kernel.files.layout import Buffer
    from pvspec.kernel.symbols.symbol_file import SymbolFile

BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,127}) ")
"""The release in a kernel's banner, in its read-only data and its log (init/version.c)."""
_VERMAGIC = re.compile(rb"(?:^|\0)vermagic=([!-~]{1,128}) ")


def open_kernel(
    source: Source,
    *,
    load_address: int | None = None,
    kernel: KernelImage | None = None,
    symbols: Source | None = None,
    name: str | None = None,
) -> KernelImage:
    """Read an ELF vmlinux, a bzImage, a module (.ko, also .xz, .zst, .gz), or the Debian package of a kernel.

    `source` is a path, the contents of the file, or a `Reader` of the file, whose addresses are offsets in it. For
    modules only: `load_address` is where to place it (see `module.DEFAULT_ADDRESS`), `kernel` the image whose symbols
    it is relocated against. `symbols` is a System.map to use instead of what the image itself says, or another file of
    symbols (see `symbol_file`): a path, contents or a reader. `name` is what messages call the image: by default,
    the path, or `<image>`.

    Raises ImageError, which names the image and the problem, and no other exception.
    """
    from pvspec.kernel.symbols.symbol_file import SymbolFile

    name = name_of(source, name, "<image>")
    file = None if symbols is None else SymbolFile.of(symbols)
    try:
        return _open(name, contents(source), load_address, kernel, file)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def _open(
    name: str, data: Buffer, load_address: int | None, kernel: KernelImage | None, symbols: SymbolFile | None
) -> KernelImage:
    from pvspec.kernel.files.elf import load_segments, parse_elf
    from pvspec.kernel.image.kaslr import LEAST_ALIGNMENT
    from pvspec.kernel.image.module import load_module

    work = Work() if kernel is None else kernel.work.continued()
    kind, contents, alignment = _unwrap(data, work)
    elf = parse_elf(contents, work)
    if elf.relocatable and kind == "vmlinux":
        kind, release = "module", _module_release(elf)
        _check_kernel(elf, release, kernel)
        if kernel is not None:
            before = kernel.work.units
            _ = kernel.exports, kernel.symbols  # read on the kernel's own account, of which the module's is one more
            work.add(kernel.work.units - before, "reading the symbols of its kernel")
        layout, unresolved = load_module(elf, load_address, kernel, work)
    elif load_address is not None or kernel is not None:
        raise ImageError("is a linked kernel, but load_address and kernel are for modules only")
    else:
        layout, unresolved = load_segments(elf, work), []
        release = _match(BANNER, layout.memory)
    return KernelImage(
        name=name,
        kind=kind,
        bits=elf.bits,
        machine=elf.machine,
        release=release,
        base=layout.base,
        memory=layout.memory,
        sections={section.name: section for section in reversed(layout.sections)},
        executable=layout.executable,
        kernel=kernel,
        unresolved=unresolved,
        alignment=max(alignment, LEAST_ALIGNMENT[elf.machine]),
        work=work,
        _elf=elf,
        _layout=layout,
        _symbol_file=symbols,
    )


def _module_release(elf: ElfFile) -> str:
    section = elf.section(".modinfo")
    return _match(_VERMAGIC, elf.contents(section)) if section else ""


def _check_kernel(elf: ElfFile, release: str, kernel: KernelImage | None) -> None:
    """Refuse another version, as the kernel's loader does: the addresses would be meaningless."""
    if kernel is None:
        return
    if kernel.machine != elf.machine or (release and kernel.release and release != kernel.release):
        raise ImageError(
            f"is a module for {release} ({elf.machine}), but {kernel.name} is {kernel.release} ({kernel.machine})"
        )


def _match(pattern: re.Pattern[bytes], text: bytes | bytearray) -> str:
    found = pattern.search(text)
    return found[1].decode("ascii") if found else ""


class _Unwrapped(NamedTuple):
    """The kind of a file, the ELF file in it, and the alignment that a bzImage requires, else 0."""

    kind: Kind
    contents: Buffer
    alignment: int


def _unwrap(data: Buffer, work: Work) -> _Unwrapped:
    from pvspec.kernel.files import codecs, compression, package

    start = data[:16]
    if start.startswith(package.MAGIC):
        return _unwrap_kernel("package", package.extract_vmlinuz(data, work), work)
    codec = codecs.codec_of(start)
    if codec is not None:
        return _Unwrapped("vmlinux", compression.unpack(codec, as_stream(data), work), 0)
    return _unwrap_kernel("vmlinux", data, work)


def _unwrap_kernel(kind: Kind, data: Buffer, work: Work) -> _Unwrapped:
    from pvspec.kernel.files import bzimage, elf_headers

    if data[:4] == elf_headers.MAGIC:
        return _Unwrapped(kind, data, 0)
    if bzimage.is_bzimage(data):
        kind = "bzimage" if kind == "vmlinux" else kind
        return _Unwrapped(kind, bzimage.extract_vmlinux(data, work), bzimage.kernel_alignment(data))
    raise ImageError("is not an ELF file, a bzImage, a module or a Debian package")
