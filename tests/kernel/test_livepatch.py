"""Livepatch modules: their symbols of section SHN_LIVEPATCH are the kernel's, and the fields wait for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from pvspec.kernel import ImageError, KernelImage, Unresolved, open_kernel
from tests.fuzz.elf import ALLOC, EXEC, REL, RELA, RELOCATABLE, Part, elf_file, symbol_table

from .binutils import link_kernel

SHN_LIVEPATCH = 0xFF20
NAME = ".klp.sym.vmlinux.meminfo_proc_show,0"
TEXT = b"\xe8\0\0\0\0\xe8\0\0\0\0\xc3"


def relocation(bits: int, offset: int, symbol: int) -> bytes:
    """A call's field."""
    if bits == 32:
        return struct.pack("<II", offset, symbol << 8 | 2)
    return struct.pack("<QQq", offset, symbol << 32 | 4, -4)


def livepatch(bits: int, index: int = SHN_LIVEPATCH, own: Sequence[int] = (1,)) -> bytes:
    """As kpatch makes it: two calls, the first of `own` function, the second of the kernel's by its own relocations."""
    kind, prefix = (REL, ".rel") if bits == 32 else (RELA, ".rela")
    tables = [(f"{prefix}.text", b"".join(relocation(bits, at, 1) for at in own)), (f".klp{prefix}.vmlinux..text", b"")]
    tables[1] = tables[1][0], relocation(bits, 6, 2)
    parts = [Part(".text", TEXT, 0, ALLOC | EXEC)]
    parts += [Part(name, rows, 0, 0, kind, 4, 1) for name, rows in tables]
    symbols = {"patched": (0, 1), NAME: (0, index)}
    return elf_file(bits, [*parts, *symbol_table(bits, symbols, 5)], RELOCATABLE)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("with_kernel", [False, True])
def test_the_fields_wait(bits: int, with_kernel: bool, tmp_path: Path) -> None:
    """Also if the kernel is at hand: kernel/livepatch resolves them, by name and position, when it likes."""
    kernel: KernelImage | None = None
    if with_kernel:
        kernel = open_kernel(link_kernel(tmp_path, "i386" if bits == 32 else "x86_64"))
    image = open_kernel(livepatch(bits), kernel=kernel)
    assert image.unresolved == [Unresolved(image.base + 6, 4, NAME)]
    assert image.read(image.base + 6, 4) == bytes(4)
    own = (-5 if bits == 64 else -1) & 0xFFFFFFFF
    assert int.from_bytes(image.read(image.base + 1, 4), "little") == own
    assert [symbol.name for symbol in image.symbols] == ["patched"]
    assert image.resolve(NAME) is None


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("index", [0xFFF2, 0xFF1F, 0xFF21, 0xFFFF, 0x1234])
def test_other_indices_are_refused(bits: int, index: int) -> None:
    """SHN_COMMON among them, which the kernel's loader refuses, too."""
    with pytest.raises(ImageError, match=f"symbol {NAME} is in section {index}, which does not exist"):
        open_kernel(livepatch(bits, index))
