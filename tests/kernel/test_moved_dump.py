"""Dumps of a kernel that KASLR moved: each form says by how much, and reads as the memory it was made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.kernel import ImageError, KernelImage, open_kernel
from pvspec.kernel.dump.dump import open_dump
from tests.fuzz.elf import ALLOC, WRITE, Part, elf_file

from .cores import Load, core_file
from .moving import table

BASE = {32: 0xC1000000, 64: 0xFFFFFFFF81000000}
KERNEL_MAP = {32: 0xC0000000, 64: 0xFFFFFFFF80000000}
SLIDE = 0x1E00000
POINTERS = [8, 16, 1024, 4091, 5000]
"""Offsets of fields in .rodata; one lies across the end of the 4096 bytes that are looked at first."""


def kernel_file(bits: int, section: str = ".rodata", pointers: tuple[int, ...] = tuple(POINTERS)) -> bytes:
    base = BASE[bits]
    contents = bytearray(b"\x11\x22\x33\x44" * 2048)
    contents[1024:1088] = range(64)  # the most varied piece has a field in it, and is no mark to look for
    for at in pointers:
        contents[at : at + bits // 8] = (base + at).to_bytes(bits // 8, "little")
    parts = [Part(section, bytes(contents), base), Part(".data", b"abcdefgh", base + 8192 + 64, ALLOC | WRITE)]
    places = [base + at for at in pointers]
    return elf_file(bits, parts) + table([places] if bits == 32 else [[], [], places])


@pytest.fixture(params=[32, 64])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> KernelImage:
    return opened(tmp_path, kernel_file(request.param))


def opened(directory: Path, contents: bytes) -> KernelImage:
    file = directory / "kernel"
    file.write_bytes(contents)
    return open_kernel(file)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return tmp_path / "dump"


def running(image: KernelImage, slide: int = SLIDE) -> bytes:
    """Its memory after it was moved; data has changed since."""
    return bytes(image.moved(slide).memory[:-8]) + b"ABCDEFGH"


def physical_place(image: KernelImage) -> int:
    """On x86_64 it has a slide of its own."""
    return image.base - KERNEL_MAP[image.bits] + (SLIDE if image.bits == 32 else 0x600000)


def segments(image: KernelImage) -> bytes:
    return b"".join(running(image)[start - image.base :][:size] for start, size in image.segments)


def mapped(image: KernelImage) -> bytes:
    """In two pieces, the second one first, and among other mappings."""
    memory, start, place = running(image), image.base + SLIDE, physical_place(image)
    direct = Load(0x88000000, place, memory)
    pieces = [Load(start + 5000, place + 5000, memory[5000:]), direct, Load(start, place, memory[:5000])]
    return core_file(image.bits, pieces)


def unmapped(image: KernelImage) -> bytes:
    """Physical addresses only; below lies what begins as the kernel does, but is none."""
    memory, place = running(image), physical_place(image)
    below = memory[:3000] + bytes(0x200000 - 3000)
    return core_file(image.bits, [Load(0, place - 0x200000, below + memory), Load(0, 1 << 31, bytes(99))])


def mapped_elsewhere(image: KernelImage) -> bytes:
    """As when a process is stopped in user mode, whose page tables have none of the kernel."""
    memory, place = running(image), physical_place(image)
    pages = [Load(0x400000, place, memory[:4096]), Load(0, place, memory), Load(0, place + 4096, memory[4096:4200])]
    return core_file(image.bits, pages)


@pytest.mark.parametrize("form", [running, segments, mapped, unmapped, mapped_elsewhere])
def test_each_form(image: KernelImage, dump: Path, form: Callable[[KernelImage], bytes]) -> None:
    dump.write_bytes(form(image))
    found = open_dump(dump, image)
    assert found.slide == SLIDE
    moved = image.moved(found.slide)
    for again in (open_dump(dump, moved), open_dump(dump, image, slide=SLIDE)):
        assert again.slide == SLIDE
        assert again.read(moved.base, 8192) == found.read(moved.base, 8192)
    assert found.read(moved.base, 8192) == running(image)[:8192]
    assert found.read(moved.end - 8, 8) == b"ABCDEFGH"
    with pytest.raises(ImageError, match="has only 4 of the 8 bytes at"):
        found.read(moved.end - 4, 8)


@pytest.mark.parametrize("form", [running, segments, mapped, unmapped, mapped_elsewhere])
def test_one_that_lies_elsewhere(image: KernelImage, dump: Path, form: Callable[[KernelImage], bytes]) -> None:
    dump.write_bytes(form(image))
    message = "its kernel is 0x1e00000 bytes above where it was linked, not 0x{:x}: predict it there"
    for slide in (0, 0x2000000):
        with pytest.raises(ImageError, match=message.format(slide)):
            open_dump(dump, image, slide=slide)
    with pytest.raises(ImageError, match=message.format(0x2000000)):
        open_dump(dump, image.moved(0x2000000))


@pytest.mark.parametrize("form", [running, segments, mapped, unmapped, mapped_elsewhere])
@pytest.mark.parametrize("at", [0, 8, 1024, 4095, 6143])
def test_another_kernel(image: KernelImage, dump: Path, form: Callable[[KernelImage], bytes], at: int) -> None:
    """A single byte is other, or a single field."""
    other = open_kernel(image.name)
    other.memory[at] ^= 1
    dump.write_bytes(form(other))
    with pytest.raises(ImageError) as error:
        open_dump(dump, image)
    assert str(error.value) == (
        f"{dump}: not a dump of {image.name} (of unknown release): 1 of 6144 bytes of read-only data differ "
        f"(first at {image.base + SLIDE + at:#x}); no banner was found in it"
    )


def test_where_it_cannot_lie(image: KernelImage, dump: Path) -> None:
    """All fields agree, but no kernel can be there."""
    memory = bytearray(image.memory)
    assert image.relocations is not None
    image.relocations.move(memory, 0x1001)
    dump.write_bytes(memory)
    with pytest.raises(ImageError, match=r"not a dump of .*read-only data differ"):
        open_dump(dump, image)


def test_without_a_table(tmp_path: Path, dump: Path) -> None:
    image = opened(tmp_path, kernel_file(64))
    dump.write_bytes(running(image))
    plain = opened(tmp_path, kernel_file(64)[: image._elf.size])
    with pytest.raises(ImageError, match=r"differ .*; if KASLR moved it, use the kernel's bzImage or package"):
        open_dump(dump, plain)


def test_without_fields(tmp_path: Path, dump: Path) -> None:
    """Virtual addresses say it all; from others nothing follows, and nothing is moved."""
    image = opened(tmp_path, kernel_file(64, pointers=(7000,)))
    dump.write_bytes(mapped(image))
    assert open_dump(dump, image).slide == SLIDE
    dump.write_bytes(running(image))
    assert open_dump(dump, image).slide == 0


def test_what_vmcoreinfo_says(tmp_path: Path, dump: Path) -> None:
    """It counts where there is nothing to compare; where there is, it is where to look first."""
    memory = Load(BASE[64] + SLIDE, 0, bytes(64))
    note = b"OSRELEASE=6.1\nKERNELOFFSET=1e00000\nPAGESIZE=4096\n"
    dump.write_bytes(core_file(64, [memory], note))
    assert open_dump(dump, opened(tmp_path, kernel_file(64, ".other"))).slide == SLIDE
    image = opened(tmp_path, kernel_file(64))
    for line in (
        b"KERNELOFFSET=1e00000\n",
        b"KERNELOFFSET=2000000\n",
        b"KERNELOFFSET=ffffffffffffffff\n",
        b"\xff" * 99,
    ):
        dump.write_bytes(core_file(64, [Load(BASE[64] + SLIDE, 0, running(image))], line))
        assert open_dump(dump, image).slide == SLIDE
    dump.write_bytes(core_file(64, [memory], note))
    with pytest.raises(ImageError, match=r"not a dump of .*: it lacks memory at|\d+ of \d+ bytes of read-only data"):
        open_dump(dump, image)


def test_a_damaged_table_is_not_used(tmp_path: Path, dump: Path) -> None:
    image = opened(tmp_path, kernel_file(64)[:-8] + b"\1\1\1\1" * 2)
    dump.write_bytes(bytes(image.memory))
    with pytest.raises(ImageError, match="relocation table"):
        open_dump(dump, image)


@pytest.mark.parametrize("offset", [1 << 20, 1 << 63, (1 << 64) - 1])
def test_notes_outside_the_file(tmp_path: Path, dump: Path, offset: int) -> None:
    image = opened(tmp_path, kernel_file(64))
    core = bytearray(core_file(64, [Load(BASE[64] + SLIDE, 0, running(image))], b"KERNELOFFSET=1e00000\n"))
    core[64 + 8 : 64 + 16] = offset.to_bytes(8, "little")  # p_offset of the first program header
    dump.write_bytes(core)
    with pytest.raises(ImageError, match="is truncated: its headers describe"):
        open_dump(dump, image)
