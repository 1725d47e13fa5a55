"""Memory dumps: each form reads as the memory it was made of, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.kernel import ImageError, KernelImage, open_kernel
from pvspec.kernel.dump.dump import open_dump
from tests.fuzz.elf import ALLOC, CORE, LINKED, WRITE, Part, elf_file

BASE = {32: 0xC1000000, 64: 0xFFFFFFFF81000000}
KERNEL_MAP = {32: 0xC0000000, 64: 0xFFFFFFFF80000000}


@pytest.fixture(params=[32, 64])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> KernelImage:
    base = BASE[request.param]
    parts = [
        Part(".rodata", bytes(range(64)) * 100, base),
        Part(".data", b"abcdefgh", base + 6400 + 64, ALLOC | WRITE),
    ]
    file = tmp_path / "vmlinux"
    file.write_bytes(elf_file(request.param, parts))
    return open_kernel(file)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return tmp_path / "dump"


def memory(image: KernelImage) -> bytes:
    """As it is later: data has changed."""
    return bytes(image.memory[:-8]) + b"ABCDEFGH"


def segments(image: KernelImage) -> bytes:
    return b"".join(memory(image)[start - image.base :][:size] for start, size in image.segments)


def core(image: KernelImage, cut: int = 6432) -> bytes:
    """Of two pieces, the second one first."""
    whole = memory(image)
    parts = [Part("", whole[cut:], image.base + cut), Part("", whole[:cut], image.base)]
    return elf_file(image.bits, parts, CORE)


def physical(image: KernelImage) -> bytes:
    """A core without paging: p_vaddr is 0, p_paddr says where."""
    whole = bytearray(elf_file(image.bits, [Part("", memory(image), image.base)], CORE))
    start, size = (52, 4) if image.bits == 32 else (64, 8)
    at = start + (8 if image.bits == 32 else 16)
    whole[at : at + size] = bytes(size)
    whole[at + size : at + 2 * size] = (image.base - KERNEL_MAP[image.bits]).to_bytes(size, "little")
    return bytes(whole)


@pytest.mark.parametrize("form", [memory, segments, core, physical])
def test_each_form(image: KernelImage, dump: Path, form: object) -> None:
    assert callable(form)
    dump.write_bytes(form(image))
    read = open_dump(dump, image).read
    assert read(image.end - 8, 8) == b"ABCDEFGH"
    assert read(image.base + 1, 3) == b"\1\2\3"


@pytest.mark.parametrize(("offset", "size", "had"), [(-1, 1, 0), (-1, 2, 0), (6472, 1, 0), (6465, 8, 7)])
def test_what_it_does_not_have(image: KernelImage, dump: Path, offset: int, size: int, had: int) -> None:
    dump.write_bytes(core(image))
    with pytest.raises(ImageError, match=f"^{dump}: has only {had} of the {size} bytes at {image.base + offset:#x}$"):
        open_dump(dump, image).read(image.base + offset, size)


def test_what_lies_in_two_pieces(image: KernelImage, dump: Path) -> None:
    dump.write_bytes(core(image))
    assert open_dump(dump, image).read(image.base + 6400, 72) == memory(image)[6400:]


@pytest.mark.parametrize("missing", [1, 8, 6000])
def test_one_that_is_cut_short(image: KernelImage, dump: Path, missing: int) -> None:
    data = memory(image)
    whole = elf_file(image.bits, [Part("", data, image.base)], CORE)
    dump.write_bytes(whole[: whole.index(data) + len(data) - missing])
    with pytest.raises(ImageError, match="truncated"):
        open_dump(dump, image)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "neither an ELF core nor a flat dump"),
        (b"\x7fELF", "damaged ELF file"),
        (elf_file(32, [Part("", bytes(8), BASE[32])], LINKED), "an ELF file, but not a core dump"),
    ],
)
def test_what_is_none(image: KernelImage, dump: Path, contents: bytes, message: str) -> None:
    dump.write_bytes(contents)
    with pytest.raises(ImageError, match=message) as error:
        open_dump(dump, image)
    assert str(error.value).startswith(f"{dump}: ")


@pytest.mark.parametrize("offset", [0, 4095])
def test_of_another_kernel(image: KernelImage, dump: Path, offset: int) -> None:
    other = bytearray(memory(image))
    other[offset] ^= 1
    dump.write_bytes(other)
    with pytest.raises(
        ImageError,
        match=f"not a dump of .*: 1 of 5248 bytes of read-only data differ .first at {image.base + offset:#x}.",
    ):
        open_dump(dump, image)


def test_a_file_that_is_not_there(image: KernelImage, dump: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        open_dump(dump, image)
