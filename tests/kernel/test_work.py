"""The meter of work: each stage of a kernel adds to it before it does what it announces."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from pvspec.kernel import ImageError, KernelImage, open_dump, open_kernel
from pvspec.kernel.dump.core import read_core
from pvspec.kernel.dump.fingerprint import Fingerprint, sample
from pvspec.kernel.dump.text_match import TextMatch
from pvspec.kernel.files.elf import load_segments, parse_elf
from pvspec.kernel.image.kaslr import read_relocations
from pvspec.kernel.image.module import load_module
from pvspec.kernel.symbols.data_symbols import find_data_symbols
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.symbols.symbol_file import SymbolFile
from pvspec.kernel.symbols.table import read_symtab, read_system_map
from pvspec.kernel.work import MAX_WORK, Work
from tests.fuzz.elf import ALLOC, EXEC, RELA, RELOCATABLE, STRTAB, SYMTAB, Part, elf_file
from tests.kernel.cores import Load, core_file
from tests.kernel.moving import table
from tests.kernel.test_kallsyms import encode

BASE = 0xFFFFFFFF81000000
TEXT = Part(".text", b"Linux version 6.1.0 (x)".ljust(4096, b"\x90"), BASE, ALLOC | EXEC)
SYMBOLS = (Part(".symtab", bytes(48), 0, 0, SYMTAB, 3), Part(".strtab", b"\0f\0", 0, 0, STRTAB))
LINKED = elf_file(64, [TEXT, *SYMBOLS, Part(".rodata", bytes(range(256)) * 16, BASE + 4096)])
MOVING = LINKED + table([[], [], [BASE + 4096 & 0xFFFFFFFF]])
MODULE = elf_file(64, [TEXT, *SYMBOLS, Part(".rela", bytes(24), 0, 0, RELA, 2, 1)], RELOCATABLE)
EXPORTING = elf_file(64, [Part("__ksymtab", bytes(12), BASE)])
CORE = core_file(64, [Load(BASE, 0, bytes(8192))])


def opened(contents: bytes, work: Work) -> KernelImage:
    """The image, all of whose further work adds to this meter."""
    return replace(open_kernel(contents), work=work)


def kallsyms(work: Work) -> None:
    image, _ = encode([(0, "T", "_text")], 64, "new", "relative")
    decode_kallsyms(image, BASE, 64, work)


def text(work: Work) -> None:
    TextMatch(opened(LINKED, Work()), work).matches(lambda address, size: bytes(size), 0)


def compared(work: Work) -> None:
    print_ = Fingerprint(opened(MOVING, Work()), Work())
    print_.work = work
    print_.difference(lambda address, size: bytes(size), 0, 0)


STAGES: dict[str, Callable[[Work], object]] = {
    "sections": lambda work: parse_elf(LINKED, work),
    "segments": lambda work: load_segments(parse_elf(LINKED, Work()), work),
    "symbol table": lambda work: read_symtab(parse_elf(LINKED, Work()), work),
    "System.map": lambda work: list(read_system_map(b"c1000000 T f\n", work)),
    "file of symbols": lambda work: list(SymbolFile.of(LINKED).symbols(work)),
    "symbols": lambda work: opened(LINKED, work).symbols,
    "kallsyms": kallsyms,
    "data symbols": lambda work: find_data_symbols(bytearray(64), 0, [(0, 64)], [], work),
    "exports": lambda work: opened(EXPORTING, work).exports,
    "module": lambda work: load_module(parse_elf(MODULE, Work()), None, None, work),
    "module and kernel": lambda work: open_kernel(MODULE, kernel=opened(LINKED, work)),
    "relocations": lambda work: read_relocations(parse_elf(MOVING, Work()), opened(MOVING, Work())._layout, work),
    "moved": lambda work: opened(MOVING, work).moved(0x200000),
    "core": lambda work: read_core(io.BytesIO(CORE), work),
    "sample": lambda work: sample(opened(MOVING, Work()), BASE + 4096, 64, work),
    "sample, moved": lambda work: sample(opened(MOVING, Work()), BASE + 4096, 64, Work()).at(0x200000, work),
    "difference": compared,
    "text": text,
    "dump": lambda work: open_dump(CORE, opened(LINKED, work)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_counts(stage: str) -> None:
    with pytest.raises(ImageError, match="would take more time than any kernel's"):
        STAGES[stage](Work(MAX_WORK))


def test_a_dump_says_what_it_took() -> None:
    image = open_kernel(LINKED)
    before = image.work.units
    dump = open_dump(bytes(image.memory), image)
    assert (image.work.units, dump.units > 0) == (before, True)


def test_a_module_has_asked_for_what_its_kernel_has() -> None:
    """Whoever reads the kernel's symbols first."""
    kernel = open_kernel(LINKED)
    module = open_kernel(MODULE, kernel=kernel)
    assert module.work.units > kernel.work.units
    assert open_kernel(MODULE, kernel=kernel).work.units == module.work.units


def test_work_that_is_done_anew_is_counted_anew() -> None:
    image = open_kernel(MOVING)
    first, second = (image.moved(slide).work.units for slide in (0x200000, 0x400000))
    assert first == second > image.work.units
