"""Kernels read offline against the same kernels booted."""

from __future__ import annotations

from pvspec.kernel import KernelImage
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.work import Work

from . import boot


def kallsyms(dump: boot.Dump) -> list[tuple[int, str, str]]:
    """Those of the kernel itself: a line of a module's symbol has a fourth field."""
    fields = (line.split() for line in dump.files["kallsyms"].decode().splitlines())
    return [(int(field[0], 16), field[1], field[2]) for field in fields if len(field) == 3]


def test_kallsyms_are_those_the_kernel_shows(booted: tuple[KernelImage, boot.Dump]) -> None:
    image, dump = booted
    assert image.symbols.source == ("kallsyms, found" if image.bits == 32 else "kallsyms")
    decoded = decode_kallsyms(image.memory, image.base, image.bits, Work())
    assert [tuple(symbol) for symbol in decoded] == kallsyms(dump)
    assert {*decoded} <= {*image.symbols}


def test_rodata_of_the_dump_is_that_of_the_image(booted: tuple[KernelImage, boot.Dump]) -> None:
    image, dump = booted
    rodata = image.sections[".rodata"]
    banner = image.section_bytes(".rodata").index(b"Linux version " + image.release.encode())
    size = len(f"Linux version {image.release} ")
    assert dump.read(rodata.address + banner, size) == image.read(rodata.address + banner, size)
    assert image.release in dump.files["version"].decode()


def test_patching_changed_the_text(booted: tuple[KernelImage, boot.Dump]) -> None:
    image, dump = booted
    text = image.sections[".text"]
    assert dump.text(text.address, text.end) != image.section_bytes(".text")
