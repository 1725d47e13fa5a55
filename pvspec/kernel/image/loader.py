"""Opening a kernel image of whatever format, known by its content."""

from __future__ import annotations

import mmap
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from pvspec.kernel.errors import ImageError
from pvspec.kernel.image.image import KernelImage, Kind

if TYPE_CHECKING:
    from pvspec.kernel.files.elf import ElfFile
    from pvspec.kernel.files.layout import Buffer

_BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,127}) ")
_VERMAGIC = re.compile(rb"(?:^|\0)vermagic=([!-~]{1,128}) ")


def open_image(
    path: str | os.PathLike[str],
    *,
    load_address: int | None = None,
    kernel: KernelImage | None = None,
    symbols: Path | None = None,
) -> KernelImage:
    """Read an ELF vmlinux, a bzImage, a module (.ko, also .xz, .zst, .gz), or the Debian package of a kernel.

    For modules only: `load_address` is where to place it (see `module.DEFAULT_ADDRESS`), `kernel` the image whose
    symbols it is relocated against. `symbols` names a System.map to use instead of what the image itself says.

    Raises ImageError, which names the file and what is wrong with it; no other exception.
    """
    path = Path(path)
    try:
        return _open(path, _map_file(path), load_address, kernel, symbols)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _map_file(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError("is not a regular file")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    except ValueError:
        raise ImageError("is empty, or not a path") from None


def _open_nonblocking(path: str, flags: int) -> int:
    """Opening a FIFO must not wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _open(
    path: Path, data: mmap.mmap, load_address: int | None, kernel: KernelImage | None, system_map: Path | None
) -> KernelImage:
    from pvspec.kernel.files.elf import load_segments, parse_elf
    from pvspec.kernel.image.kaslr import LEAST_ALIGNMENT
    from pvspec.kernel.image.module import load_module

    kind, contents, alignment = _unwrap(data)
    elf = parse_elf(contents)
    if elf.relocatable and kind == "vmlinux":
        kind, release = "module", _module_release(elf)
        _check_kernel(elf, release, kernel)
        layout, unresolved = load_module(elf, load_address, kernel)
    elif load_address is not None or kernel is not None:
        raise ImageError("is a linked kernel: only a module has a load address and a kernel of its own")
    else:
        layout, unresolved = load_segments(elf), []
        release = _match(_BANNER, layout.memory)
    return KernelImage(
        path=path,
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
        _elf=elf,
        _layout=layout,
        _system_map=system_map,
    )


def _module_release(elf: ElfFile) -> str:
    section = elf.section(".modinfo")
    return _match(_VERMAGIC, elf.contents(section)) if section else ""


def _check_kernel(elf: ElfFile, release: str, kernel: KernelImage | None) -> None:
    """The kernel's loader refuses another version too: the addresses would mean nothing."""
    if kernel is None:
        return
    if kernel.machine != elf.machine or (release and kernel.release and release != kernel.release):
        raise ImageError(
            f"is a module for {release} ({elf.machine}), and {kernel.path} is {kernel.release} ({kernel.machine})"
        )


def _match(pattern: re.Pattern[bytes], text: bytes | bytearray) -> str:
    found = pattern.search(text)
    return found[1].decode("ascii") if found else ""


class _Unwrapped(NamedTuple):
    """What a file is, the ELF file in it, and the alignment that a bzImage asks for, else 0."""

    kind: Kind
    contents: Buffer
    alignment: int


def _unwrap(data: mmap.mmap) -> _Unwrapped:
    from pvspec.kernel.files import bzimage, compression, package

    start = data[:16]
    if start.startswith(package.MAGIC):
        return _unwrap_kernel("package", package.extract_vmlinuz(cast(BinaryIO, data)))
    codec = compression.codec_of(start)
    if codec is not None:
        return _Unwrapped("vmlinux", compression.unpack(codec, cast(BinaryIO, data)), 0)
    return _unwrap_kernel("bzimage" if bzimage.is_bzimage(data) else "vmlinux", data)


def _unwrap_kernel(kind: Kind, data: Buffer) -> _Unwrapped:
    from pvspec.kernel.files import bzimage, elf

    if data[:4] == elf.MAGIC:
        return _Unwrapped(kind, data, 0)
    if bzimage.is_bzimage(data):
        return _Unwrapped(kind, bzimage.extract_vmlinux(data), bzimage.kernel_alignment(data))
    raise ImageError("is not an ELF file, a bzImage, a module or a Debian package")
