"""Sections that no segment loads, as vmlinux-to-elf writes them: the image is read, they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.kernel import ImageError, open_dump, open_kernel
from tests.fuzz.elf import ALLOC, EXEC, LINKED, Part, elf_file

from .test_moved_dump import BASE

TEXT, DATA = b"\x90" * 256, b"data" * 16


def with_sections_outside(bits: int, *outside: Part) -> bytes:
    """A kernel of two segments, and sections without any: their program headers' type is turned to PT_NOTE."""
    base = BASE[bits]
    parts = [Part(".text", TEXT, base, ALLOC | EXEC), Part(".data", DATA, base + 0x3000), *outside]
    data = bytearray(elf_file(bits, parts, LINKED))
    start, size = (52, 32) if bits == 32 else (64, 56)
    for number in range(2, len(parts)):
        data[start + size * number] = 4
    return bytes(data)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("at", [-0x1000, 0x1000, 0x100, 0x2FF0, 0x200000])
def test_it_is_read_without_them(bits: int, at: int) -> None:
    """Before, between, right after and far after the segments."""
    image = open_kernel(with_sections_outside(bits, Part(".notes", bytes(16), BASE[bits] + at)))
    assert (image.base, image.end) == (BASE[bits], BASE[bits] + 0x3000 + len(DATA))
    assert image.section_bytes(".text") == TEXT
    assert image.section_bytes(".data") == DATA
    assert not image.sections[".notes"].allocated
    with pytest.raises(ImageError, match=r"section \.notes at 0x[0-9a-f]+ is outside all loaded segments"):
        image.section_bytes(".notes")


@pytest.mark.parametrize("bits", [32, 64])
def test_code_outside_is_not_executable(bits: int) -> None:
    base = BASE[bits]
    image = open_kernel(with_sections_outside(bits, Part(".lost", bytes(16), base + 0x1000, ALLOC | EXEC)))
    assert image.executable == ((base, base + len(TEXT)),)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(("at", "size"), [(0xF8, 16), (-8, 16), (0x2FF8, 16), (-8, 0x200)])
def test_one_that_is_partly_outside_is_refused(bits: int, at: int, size: int) -> None:
    """What the header says of it cannot be so."""
    with pytest.raises(ImageError, match=r"section \.odd \(0x[0-9a-f]+ to 0x[0-9a-f]+\) is only partly in the segment"):
        open_kernel(with_sections_outside(bits, Part(".odd", bytes(size), BASE[bits] + at)))


@pytest.mark.parametrize("bits", [32, 64])
def test_read_only_data_outside_identify_nothing(bits: int) -> None:
    image = open_kernel(with_sections_outside(bits, Part(".rodata", bytes(64), BASE[bits] + 0x1000)))
    assert open_dump(bytes(image.memory), image).read(image.base, 4) == TEXT[:4]


def test_a_moved_kernel(tmp_path: Path) -> None:
    """Sections outside stay unreadable after the move."""
    base = BASE[64]
    data = with_sections_outside(64, Part(".notes", bytes(16), base + 0x1000))
    image = open_kernel(data + bytes(12))  # a table of relocations that lists none
    moved = image.moved(0x1E00000)
    assert not moved.sections[".notes"].allocated
    moved.write(tmp_path / "moved", moved.memory)
    assert open_kernel(tmp_path / "moved").section_bytes(".text") == TEXT
