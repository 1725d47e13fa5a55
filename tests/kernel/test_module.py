"""Modules: our relocation against the linker's, each section at the same address."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pvspec.kernel import ImageError, KernelImage, Unresolved, open_kernel
from pvspec.kernel.image.module import DEFAULT_ADDRESS

from .binutils import EMULATION, RELEASE, link_kernel, run

SOURCE = {
    "i386": """
        .text
        call _printk
        call _printk@PLT
        movl $string + 3, %eax
        movl counter, %ecx
        call cleanup
        .section .data, "aw"
        .long cleanup, string, counter
        .section .smp_locks, "a"
        .long cleanup - ., counter - . + 8
    """,
    "x86_64": """
        .text
        call _printk
        call _printk@PLT
        movq $string + 3, %rax
        movl counter(%rip), %ecx
        call cleanup
        .section .data, "aw"
        .quad cleanup, string, counter, _printk
        .quad cleanup - .
        .section .smp_locks, "a"
        .long cleanup - ., counter - . + 8
    """,
}
COMMON = f"""
    .section .modinfo, "a"
    .asciz "license=GPL"
    .asciz "vermagic={RELEASE} SMP mod_unload "
    .section .rodata.str1.1, "aMS", @progbits, 1
    string: .asciz "hello"
    .section .exit.text, "ax"
    .globl cleanup
    cleanup: ret
    .section .init.text, "ax"
    call cleanup
    .bss
    counter: .long 0
    .section .comment2
    .long counter
"""

Assembler = Callable[[str, str], Path]


@pytest.fixture
def kernel(machine: str, tmp_path: Path) -> KernelImage:
    (tmp_path / "kernel").mkdir()
    return open_kernel(link_kernel(tmp_path / "kernel", machine))


@pytest.fixture
def ko(assembler: Assembler, machine: str) -> Path:
    return assembler(SOURCE[machine] + COMMON, "module.ko")


def linked(image: KernelImage, directory: Path) -> KernelImage:
    """The same object, linked by ld with every section where `image` has it."""
    placed = sorted((section.address, name) for name, section in image.sections.items() if section.allocated)
    script = directory / "module.lds"
    script.write_text(
        "SECTIONS { "
        + " ".join(f"{name} {address:#x} : {{ *({name}) }}" for address, name in placed)
        + " /DISCARD/ : { *(.modinfo) *(.comment2) *(.note*) } }"
    )
    assert image.kernel is not None
    printk = f"--defsym=_printk={image.kernel.exports['_printk']:#x}"
    target = directory / "linked"
    run("ld", "-m", EMULATION[image.machine], "-e", "0", "-T", script, printk, "-o", target, image.name)
    return open_kernel(target)


def test_attributes(ko: Path, kernel: KernelImage, machine: str) -> None:
    image = open_kernel(ko, kernel=kernel)
    assert (image.kind, image.machine, image.release) == ("module", machine, RELEASE)
    assert image.base == DEFAULT_ADDRESS[machine]
    assert image.kernel is kernel
    assert not image.unresolved


@pytest.mark.parametrize("offset", [0, 0x1234000])
def test_relocated_as_the_linker_does(ko: Path, kernel: KernelImage, tmp_path: Path, offset: int) -> None:
    image = open_kernel(ko, kernel=kernel, load_address=kernel.base + 0x4000000 + offset)
    expected = linked(image, tmp_path)
    names = [name for name, section in image.sections.items() if section.allocated and section.size]
    assert {".text", ".data", ".smp_locks", ".init.text", ".rodata.str1.1", ".bss"} <= {*names}
    for name in names:
        assert image.section_bytes(name) == expected.section_bytes(name), name
        assert image.sections[name].address == expected.sections[name].address


def test_layout(ko: Path, kernel: KernelImage) -> None:
    """Executable, read-only, writable, then the same for init; each group on a page of its own."""
    sections = open_kernel(ko, kernel=kernel).sections
    order = [".text", ".exit.text", ".smp_locks", ".rodata.str1.1", ".data", ".bss", ".init.text"]
    assert sorted(order, key=lambda name: (sections[name].address, order.index(name))) == order
    pages = [sections[name].address % 4096 for name in (".text", ".smp_locks", ".init.text")]
    assert pages == [0, 0, 0]
    assert not sections[".modinfo"].allocated
    assert open_kernel(ko, kernel=kernel).section_bytes(".modinfo").startswith(b"license=GPL\0")


def test_symbols_are_at_their_addresses(ko: Path, kernel: KernelImage) -> None:
    image = open_kernel(ko, kernel=kernel)
    assert image.symbols.address("cleanup") == image.sections[".exit.text"].address
    assert image.symbols.address("_printk") is None
    assert image.resolve("_printk") == kernel.exports["_printk"]


def test_without_a_kernel_undefined_symbols_are_listed(ko: Path, machine: str) -> None:
    image = open_kernel(ko)
    text = image.sections[".text"].address
    assert image.unresolved[:2] == [Unresolved(text + 1, 4, "_printk"), Unresolved(text + 6, 4, "_printk")]
    assert image.read(text + 1, 4) == (b"\xfc\xff\xff\xff" if machine == "i386" else bytes(4))
    assert {field.symbol for field in image.unresolved} == {"_printk"}


def test_per_cpu_data_has_no_address(assembler: Assembler) -> None:
    source = '.text\n.long mine\n.section .data..percpu, "aw"\nmine: .long 0\n'
    image = open_kernel(assembler(source, "percpu.ko"))
    assert image.unresolved == [Unresolved(image.base, 4, ".data..percpu")]
    assert not image.sections[".data..percpu"].allocated


def test_weak_undefined_symbols_are_zero(assembler: Assembler, kernel: KernelImage) -> None:
    image = open_kernel(assembler(".data\n.weak perhaps\n.long perhaps\n", "weak.ko"), kernel=kernel)
    assert (image.unresolved, image.section_bytes(".data")) == ([], bytes(4))


def test_another_module_may_export(assembler: Assembler, kernel: KernelImage) -> None:
    exporter = assembler(
        '.text\nnop\n.globl helper\nhelper: ret\n.section __ksymtab_gpl, "a"\n'
        "entry: .long helper - ., name - ., name - . + 6\n"
        '.section __ksymtab_strings, "aMS", @progbits, 1\nname: .asciz "helper"\n',
        "exporter.ko",
    )
    first = open_kernel(exporter, kernel=kernel)
    second = (
        open_kernel(
            assembler(".data\n.long helper\n", "importer.ko"),
            kernel=first,
            load_address=first.base + 0x100000,
        )
        if first.bits == 32
        else open_kernel(
            assembler(".data\n.quad helper\n", "importer.ko"),
            kernel=first,
            load_address=first.base + 0x100000,
        )
    )
    assert first.exports == {"helper": first.base + 1}
    assert int.from_bytes(second.section_bytes(".data"), "little") == first.base + 1


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.compress])
def test_compressed(ko: Path, kernel: KernelImage, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(pack(ko.read_bytes()))
    assert open_kernel(packed, kernel=kernel).memory == open_kernel(ko, kernel=kernel).memory


def test_written_module_is_as_loaded(ko: Path, kernel: KernelImage, tmp_path: Path) -> None:
    image = open_kernel(ko, kernel=kernel)
    memory = bytearray(image.memory)
    memory[0] = 0xCC
    image.write(tmp_path / "out.ko", memory)
    headers = run("readelf", "-SW", tmp_path / "out.ko")
    assert f"{image.sections['.data'].address:0{image.bits // 4}x}" in headers
    relocations = run("readelf", "-rW", tmp_path / "out.ko")
    assert ".comment2" in relocations
    assert ".text" not in relocations
    again = open_kernel(tmp_path / "out.ko")
    assert (again.memory, list(again.unresolved)) == (memory, [])


@pytest.mark.parametrize("address", [1, -4096, 1 << 64, 0xFFFFFFFFFFFFF000])
def test_bad_load_addresses(ko: Path, address: int) -> None:
    with pytest.raises(ImageError, match="load address"):
        open_kernel(ko, load_address=address)


def test_out_of_reach(ko: Path, kernel: KernelImage, machine: str) -> None:
    if machine == "i386":
        assert not open_kernel(ko, kernel=kernel, load_address=0x1000).unresolved
        return
    with pytest.raises(ImageError, match="does not reach its symbol: load the module nearer"):
        open_kernel(ko, kernel=kernel, load_address=0x100000000)


def test_kernel_of_another_release(assembler: Assembler, kernel: KernelImage) -> None:
    other = assembler('.section .modinfo, "a"\n.asciz "vermagic=6.1.0-8-other SMP "\n', "other.ko")
    with pytest.raises(ImageError, match=f"a module for 6.1.0-8-other .* is {RELEASE}"):
        open_kernel(other, kernel=kernel)


def test_relocation_types_the_kernel_does_not_know(assembler: Assembler, machine: str) -> None:
    register = "%eax" if machine == "i386" else "%rip"
    source = f".text\nmovl thing@GOTPCREL({register}), %ecx\n" if machine == "x86_64" else ".text\n.byte thing\n"
    with pytest.raises(ImageError, match="is not one that the kernel applies"):
        open_kernel(assembler(source, "odd.ko"))
