"""Linked kernels, against what binutils says of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pvspec.kernel import ImageError, open_kernel

from .binutils import BASE, RELEASE, run


def test_attributes(vmlinux: Path, machine: str) -> None:
    image = open_kernel(vmlinux)
    assert (image.kind, image.machine, image.release) == ("vmlinux", machine, RELEASE)
    assert image.bits == (32 if machine == "i386" else 64)
    assert image.base == BASE[machine]
    assert not image.unresolved


def test_memory_is_what_objcopy_makes(vmlinux: Path, tmp_path: Path) -> None:
    binary = tmp_path / "flat"
    run("objcopy", "-O", "binary", vmlinux, binary)
    assert open_kernel(vmlinux).memory == binary.read_bytes()


def test_executable_ranges(vmlinux: Path) -> None:
    image = open_kernel(vmlinux)
    text, init = image.sections[".text"], image.sections[".init.text"]
    assert image.executable == ((text.address, text.end), (init.address, init.end))


def test_read_is_bounded(vmlinux: Path) -> None:
    image = open_kernel(vmlinux)
    assert image.read(image.base, 1) == b"\x90"
    assert image.read(image.end - 1, 1) == b"\xc3"
    for address, size in [(image.base - 1, 2), (image.end - 1, 2), (image.base, -1), (0, 0), (1 << 70, 1)]:
        with pytest.raises(ImageError, match="outside the image"):
            image.read(address, size)


def test_section_bytes(vmlinux: Path) -> None:
    image = open_kernel(vmlinux)
    assert image.section_bytes(".data") == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])
    assert image.section_bytes(".bss") == bytes(64)
    assert image.section_bytes(".shstrtab").startswith(b"\0.")
    with pytest.raises(ImageError, match=r"no section \.nowhere"):
        image.section_bytes(".nowhere")


def test_per_cpu_template_at_zero_is_not_in_memory(tmp_path: Path) -> None:
    source = '.text\nnop\n.section .data..percpu, "aw"\n.long 7\n'
    (tmp_path / "k.s").write_text(source)
    (tmp_path / "k.lds").write_text(
        "PHDRS { text PT_LOAD; percpu PT_LOAD; } SECTIONS { .text 0xffffffff81000000 : { *(.text) } :text"
        " .data..percpu 0 : AT(0x2000000) { *(.data..percpu) } :percpu /DISCARD/ : { *(.note*) } }"
    )
    run("as", "--64", "-o", tmp_path / "k.o", tmp_path / "k.s")
    run("ld", "-T", tmp_path / "k.lds", "-o", tmp_path / "k", tmp_path / "k.o")
    image = open_kernel(tmp_path / "k")
    assert (image.base, bytes(image.memory)) == (0xFFFFFFFF81000000, b"\x90")
    assert image.section_bytes(".data..percpu") == b"\7\0\0\0"


def test_symbols_are_those_of_nm(vmlinux: Path) -> None:
    table = open_kernel(f"{vmlinux}.symbols").symbols
    assert table.source == ".symtab"
    listed = [line.split() for line in run("nm", f"{vmlinux}.symbols").splitlines()]
    assert sorted(table) == sorted((int(address, 16), kind, name) for address, kind, name in listed)


def test_system_map_wins(vmlinux: Path, tmp_path: Path) -> None:
    system_map = tmp_path / "System.map"
    system_map.write_text(run("nm", "-n", f"{vmlinux}.symbols"))
    image = open_kernel(vmlinux, symbols=system_map)
    start = image.base
    assert image.symbols.source == "System.map"
    assert image.symbols.address("start_kernel") == start
    assert image.symbols.extent("start_kernel") == (start, start + 101)
    assert image.symbols.extent("setup") == (image.end - 1, image.end)
    assert image.symbols.name_of(start + 100) == ("start_kernel", 100)
    assert image.symbols.name_of(start - 1) is image.symbols.name_of(image.end) is None
    assert image.symbols.address("nobody") is None
    assert image.symbols.extent("nobody") is None


def test_global_symbols_come_before_local_ones(vmlinux: Path, tmp_path: Path) -> None:
    system_map = tmp_path / "System.map"
    system_map.write_text("10 t twice\n20 T twice\n30 T twice\n")
    assert open_kernel(vmlinux, symbols=system_map).symbols.address("twice") == 0x20


def test_placeholder_system_map_is_refused(vmlinux: Path, tmp_path: Path) -> None:
    system_map = tmp_path / "System.map"
    system_map.write_text("ffffffffffffffff B The real System.map is in another package\n")
    with pytest.raises(ImageError, match=r"System\.map: line 1 is not a System\.map line"):
        _ = open_kernel(vmlinux, symbols=system_map).symbols


def test_stripped_without_kallsyms_has_no_symbols(vmlinux: Path) -> None:
    image = open_kernel(vmlinux)
    assert (image.symbols.source, len(image.symbols)) == ("none", 0)
    assert image.symbols.name_of(image.base) is None


def test_exports(vmlinux: Path) -> None:
    image = open_kernel(vmlinux)
    assert image.exports == {"_printk": image.base + 101}
    assert image.resolve("_printk") == image.base + 101


def test_written_image_differs_only_where_memory_does(vmlinux: Path, tmp_path: Path) -> None:
    image = open_kernel(vmlinux)
    memory = bytearray(image.memory)
    memory[1:3] = b"\x0f\x0b"
    image.write(tmp_path / "patched", memory)
    again = open_kernel(tmp_path / "patched")
    assert again.memory == memory
    assert again.sections == image.sections
    differing = [
        number
        for number, (old, new) in enumerate(zip(vmlinux.read_bytes(), (tmp_path / "patched").read_bytes(), strict=True))
        if old != new
    ]
    text = image.sections[".text"]
    assert differing == [text.offset + 1, text.offset + 2]


def test_image_can_be_written_over_itself(vmlinux: Path) -> None:
    image = open_kernel(vmlinux)
    image.write(vmlinux, b"\xcc" * len(image.memory))
    assert open_kernel(vmlinux).section_bytes(".data") == b"\xcc" * 12


@pytest.mark.parametrize("target", ["missing/out", "directory"])
def test_failed_write_leaves_nothing(vmlinux: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "directory").mkdir()
    image, before = open_kernel(vmlinux), sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageError, match="cannot be written"):
        image.write(tmp_path / target, image.memory)
    with pytest.raises(ImageError, match="memory of 1 bytes for an image of"):
        image.write(tmp_path / "out", b"x")
    assert sorted(tmp_path.rglob("*")) == before


def test_linked_kernel_takes_no_load_address(vmlinux: Path) -> None:
    with pytest.raises(ImageError, match="load_address and kernel are for modules only"):
        open_kernel(vmlinux, load_address=0x1000)


def test_import_is_cheap() -> None:
    code = "import sys, pvspec.kernel; print({'tarfile', 'zstandard', 'lz4'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
