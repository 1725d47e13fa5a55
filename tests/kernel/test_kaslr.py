"""A moved kernel: what the linker would have made of it there; and tables of relocations that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pvspec.kernel import ImageError, KernelImage, open_kernel
from tests.fuzz.elf import ALLOC, Part, elf_file

from .binutils import BASE, run
from .moving import build, fields, table
from .test_containers import bzimage

SLIDE = 0x1E00000
END = {"i386": 0xFFFFF000, "x86_64": 0xFFFFFFFFC0000000}


@pytest.fixture
def plain(tmp_path: Path, machine: str) -> Path:
    """A kernel without a table."""
    return build(tmp_path / "linked", machine)


@pytest.fixture
def kernel(plain: Path, machine: str) -> Path:
    """The same with its table, as a bzImage unpacks to it."""
    lists = fields(plain, machine)
    assert [len(part) for part in lists] == ([6] if machine == "i386" else [2, 1, 5])
    return with_table(plain, table(lists))


def with_table(vmlinux: Path, data: bytes) -> Path:
    target = vmlinux.with_name("unpacked")
    target.write_bytes(vmlinux.read_bytes() + data)
    return target


def system_map(vmlinux: Path) -> Path:
    target = vmlinux.with_name("System.map")
    target.write_text(run("nm", vmlinux.with_name("vmlinux.symbols")))
    return target


def test_it_is_as_if_linked_there(tmp_path: Path, machine: str, plain: Path, kernel: Path) -> None:
    higher = build(tmp_path / "higher", machine, SLIDE)
    moved = open_kernel(kernel, symbols=system_map(plain)).moved(SLIDE)
    linked = open_kernel(higher, symbols=system_map(higher))
    assert moved.memory == linked.memory
    assert moved.memory != open_kernel(kernel).memory
    assert (moved.base, moved.end, moved.slide) == (linked.base, linked.end, SLIDE)
    assert (moved.sections, moved.segments, moved.executable) == (linked.sections, linked.segments, linked.executable)
    assert list(moved.symbols) == list(linked.symbols)
    assert moved.exports == linked.exports == {"_printk": linked.symbols.address("_printk")}


def test_it_is_written_so(tmp_path: Path, machine: str, kernel: Path) -> None:
    """With headers that say where it lies, and without the table, which has been applied."""
    moved = open_kernel(kernel).moved(SLIDE)
    moved.write(tmp_path / "written", moved.memory)
    written, linked = open_kernel(tmp_path / "written"), open_kernel(build(tmp_path / "higher", machine, SLIDE))
    assert (written.memory, written.sections, written.segments) == (linked.memory, linked.sections, linked.segments)
    assert written.relocations is None


def test_an_image_is_not_changed(kernel: Path) -> None:
    image = open_kernel(kernel)
    before = bytes(image.memory)
    assert image.moved(0) is image
    assert image.moved(SLIDE).moved(SLIDE).memory == image.moved(SLIDE).memory != before
    assert image.memory == before
    assert image.slide == 0
    with pytest.raises(ImageError, match="was already moved"):
        image.moved(SLIDE).moved(2 * SLIDE)


def test_symbols_of_its_own(plain: Path, kernel: Path, machine: str) -> None:
    """Of the image's symbol table; those outside of it, as per-CPU variables are, stay."""
    symbols = plain.with_name("vmlinux.symbols")
    image = open_kernel(with_table(symbols, table(fields(plain, machine))))
    moved = image.moved(SLIDE)
    for before, after in zip(image.symbols, moved.symbols, strict=True):
        assert after.address - before.address == (SLIDE if before.address >= image.base else 0)
        assert after.name == before.name


def test_newer_tables_have_no_distances(tmp_path: Path, machine: str, plain: Path) -> None:
    """Since Linux 6.15 per-CPU variables move with the kernel, and there are two lists."""
    if machine == "i386":
        pytest.skip("it has one list, always")
    added, _, longs = fields(plain, machine)
    image = open_kernel(with_table(plain, table([added, longs])))
    assert image.relocations is not None
    assert [len(part) for part in image.relocations] == [2, 0, 5]


@pytest.mark.parametrize("slide", [-0x200000, 0x1000, 0x100001, 1 << 64, "end"])
def test_where_no_kernel_lies(kernel: Path, machine: str, slide: int | str) -> None:
    image = open_kernel(kernel)
    far = (END[machine] - image.end) // image.alignment * image.alignment
    assert image.moved(far).end > END[machine] - image.alignment
    with pytest.raises(ImageError, match=f"^{kernel}: cannot be moved by .*: that must be a multiple of"):
        image.moved(far + image.alignment if isinstance(slide, str) else slide)


def test_the_alignment_is_that_of_the_header(tmp_path: Path, kernel: Path) -> None:
    data = bytearray(bzimage(kernel.read_bytes()))
    struct.pack_into("<I", data, 0x230, 0x1000000)
    file = tmp_path / "vmlinuz"
    file.write_bytes(data)
    image = open_kernel(file)
    assert (image.alignment, image.kind) == (0x1000000, "bzimage")
    assert image.moved(0x2000000).slide == 0x2000000
    with pytest.raises(ImageError, match="must be a multiple of 0x1000000"):
        image.moved(SLIDE)


def test_without_a_table(plain: Path) -> None:
    image = open_kernel(plain)
    with pytest.raises(ImageError, match="lacks a relocation table after its ELF file: use the kernel's bzImage"):
        image.moved(SLIDE)
    image.moved(0)


def test_a_module_is_not_moved(assembled: Path) -> None:
    with pytest.raises(ImageError, match="is a module: KASLR moves the kernel that loads it; give that with --vmlinux"):
        open_kernel(assembled).moved(SLIDE)


@pytest.fixture
def assembled(plain: Path) -> Path:
    return plain.with_name("kernel.o")


def small(machine: str, data: bytes) -> bytes:
    bits = 32 if machine == "i386" else 64
    return elf_file(bits, [Part(".rodata", bytes(64), BASE[machine], ALLOC)]) + data


@pytest.mark.parametrize("where", [-1, -0x1000000, 61, 64, 0x7E000000])
def test_a_field_outside(tmp_path: Path, machine: str, where: int) -> None:
    lists = [[BASE[machine], BASE[machine] + where]] + ([[], []] if machine == "x86_64" else [])
    file = tmp_path / "kernel"
    file.write_bytes(small(machine, table(lists)))
    with pytest.raises(ImageError, match=r"names a field at 0x[0-9a-f]+, outside the image"):
        open_kernel(file).moved(SLIDE)


def test_a_long_field_that_begins_inside(tmp_path: Path) -> None:
    base = BASE["x86_64"]
    for where, fits in ((56, True), (57, False), (60, False)):
        file = tmp_path / "kernel"
        file.write_bytes(small("x86_64", table([[], [], [base + where]])))
        if fits:
            assert open_kernel(file).moved(SLIDE).read(base + SLIDE + where, 8) == struct.pack("<Q", SLIDE)
        else:
            with pytest.raises(ImageError, match="outside the image"):
                open_kernel(file).moved(SLIDE)


def test_a_field_between_segments(tmp_path: Path) -> None:
    """There the per-CPU template is loaded, which the image does not have: it stays zeros."""
    base, file = BASE["x86_64"], tmp_path / "kernel"
    parts = [Part(".text", bytes(64), base), Part(".data", bytes(64), base + 4096, ALLOC)]
    file.write_bytes(elf_file(64, parts) + table([[base + 4090], [], [base + 8, base + 1024]]))
    memory = open_kernel(file).moved(SLIDE).memory
    assert [at for at, byte in enumerate(memory) if byte] == [10, 11]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1\1\1\1" * 9, "lacks an end"),
        (b"\0\0\0\0" * 3_000_000, "larger than any kernel"),
        (b"garbage", "lacks an end"),
        (b"abc", "lacks a relocation table"),
    ],
)
def test_what_is_no_table(tmp_path: Path, machine: str, data: bytes, message: str) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(small(machine, data))
    with pytest.raises(ImageError, match=message):
        open_kernel(file).moved(SLIDE)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.one_of(st.integers(0, 70).map(lambda at: BASE["i386"] + at), st.just(0)), max_size=12))
def test_whatever_the_words(tmp_path: Path, machine: str, data: list[int]) -> None:
    """An image or an ImageError; and nothing is written outside of the fields."""
    words = [word + (0x81000000 - 0xC1000000 if word and machine == "x86_64" else 0) for word in data]
    file = tmp_path / "kernel"
    file.write_bytes(small(machine, struct.pack(f"<{len(words)}I", *words)))
    image: KernelImage = open_kernel(file)
    try:
        moved = image.moved(SLIDE)
    except ImageError as error:
        assert str(file) in str(error)  # noqa: PT017  # either outcome is fine
        return
    assert len(moved.memory) == len(image.memory)
    assert bool(any(words)) >= (moved.memory != image.memory)
