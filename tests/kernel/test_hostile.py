"""Whatever the bytes are: an image or an ImageError, and no file left behind."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pvspec.kernel import ImageError, open_kernel

from .moving import build, fields, table

MODULE = """
    .text
    call elsewhere
    .section __ksymtab, "a"
    .long 0x7fffffff, -1, 0
    .section .modinfo, "a"
    .asciz "vermagic=1 "
    .data
    .long .text
"""


def exercise(file: Path) -> None:
    """All that can be done with an image."""
    image = open_kernel(file)
    for name in image.sections:
        image.section_bytes(name)
    assert image.symbols.name_of(image.base + 1) is None or len(image.symbols)
    assert image.exports is not None
    with suppress(ImageError):
        image = image.moved(0x1000000)
    image.write(file.with_name("written"), image.memory)
    file.with_name("written").unlink()


def survives(file: Path, contents: bytes) -> None:
    file.write_bytes(contents)
    before = sorted(file.parent.iterdir())
    try:
        exercise(file)
    except ImageError as error:
        assert str(file) in str(error)  # noqa: PT017  # either outcome is fine
    assert sorted(file.parent.iterdir()) == before


def headers(contents: bytes, bits: int) -> list[int]:
    """The offsets of all bytes of the ELF header and of the header tables."""
    wide = bits == 64
    (program, section) = struct.unpack_from("<QQ" if wide else "<II", contents, 32 if wide else 28)
    _, entry, count, size, number, _ = struct.unpack_from("<6H", contents, 52 if wide else 40)
    tables = [(0, 64 if wide else 52), (program, entry * count), (section, size * number)]
    return [offset for start, length in tables for offset in range(start, start + length)]


@pytest.fixture(params=["vmlinux", "moving", "module"])
def contents(
    request: pytest.FixtureRequest, vmlinux: Path, assembler: Callable[[str, str], Path], machine: str
) -> bytes:
    if request.param == "moving":
        kernel = build(vmlinux.parent / "moving", machine)
        return kernel.read_bytes() + table(fields(kernel, machine))
    return vmlinux.read_bytes() if request.param == "vmlinux" else assembler(MODULE, "m.ko").read_bytes()


def test_every_truncation(contents: bytes, tmp_path: Path) -> None:
    for length in range(0, len(contents), 61):
        survives(tmp_path / "cut", contents[:length])


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_headers(contents: bytes, tmp_path: Path, machine: str, data: st.DataObject) -> None:
    damaged = bytearray(contents)
    places = st.sampled_from(headers(contents, 32 if machine == "i386" else 64))
    values = st.sampled_from([0, 1, 2, 4, 8, 9, 0x7F, 0x80, 0xFE, 0xFF])
    for place, value in data.draw(st.lists(st.tuples(places, values), min_size=1, max_size=6)):
        damaged[place] = value
    survives(tmp_path / "damaged", bytes(damaged))


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_anywhere(contents: bytes, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(contents)
    for place in data.draw(st.lists(st.integers(0, len(contents) - 1), min_size=1, max_size=20)):
        damaged[place] = data.draw(st.integers(0, 255))
    survives(tmp_path / "damaged", bytes(damaged))


def patched(vmlinux: Path, offset: int, layout: str, value: int) -> bytes:
    contents = bytearray(vmlinux.read_bytes())
    struct.pack_into(layout, contents, offset, value)
    return bytes(contents)


@pytest.mark.parametrize(
    ("field", "layout", "value", "reason"),
    [
        ({"i386": 18, "x86_64": 18}, "<H", 40, "not for i386 or x86_64"),
        ({"i386": 48, "x86_64": 60}, "<H", 0xFFFF, "65535 section headers"),
        ({"i386": 48, "x86_64": 60}, "<H", 0xFE00, "section headers are outside"),
        ({"i386": 46, "x86_64": 58}, "<H", 8, "section headers of 8 bytes"),
        ({"i386": 50, "x86_64": 62}, "<H", 999, "name table is section 999"),
        ({"i386": 44, "x86_64": 56}, "<H", 65, "65 program headers"),
        ({"i386": 44, "x86_64": 56}, "<H", 0, "without a PT_LOAD segment"),
        ({"i386": 52 + 16, "x86_64": 64 + 32}, "<I", 1 << 30, "is outside the file"),
        ({"i386": 52 + 20, "x86_64": 64 + 40}, "<I", 16, "more bytes in the file than in memory"),
        ({"i386": 52 + 20, "x86_64": 64 + 40}, "<I", 1 << 20, "overlap"),
        ({"i386": 52 + 8, "x86_64": 64 + 16}, "<I", 0x1000, "MiB of memory|overlap|outside all segments"),
    ],
)
def test_reasons(
    vmlinux: Path, tmp_path: Path, machine: str, field: dict[str, int], layout: str, value: int, reason: str
) -> None:
    file = tmp_path / "hostile"
    file.write_bytes(patched(vmlinux, field[machine], layout, value))
    with pytest.raises(ImageError, match=reason):
        open_kernel(file)
