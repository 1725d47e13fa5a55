"""What is told of words of a command line: by the kernel's own table of them, wherever that may lie."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from pvspec.engine.command_line import ReadLine
from pvspec.kernel import KernelImage, open_kernel
from pvspec.prediction.parameters import warnings
from tests.fuzz.elf import ALLOC, EXEC, Part, elf_file, symbol_table

BASE, SIZE = 0xC1000000, 0x200
TABLE, LAST = 0x40, b"last"
WORDS = {0x100: b"no_pti\0", 0x110: b"retbleed=\0", SIZE - len(LAST): LAST}
READ = ReadLine({}, {}, (), ("no-pti", "no_pti", "retbleed", "last", "other"))


def kernel(bits: int, end: int | None = None) -> KernelImage:
    """One whose table has these words; `end`: where its second symbol is, from the first."""
    memory = bytearray(SIZE)
    record = struct.Struct("<QQi4x" if bits == 64 else "<IIi")
    for at, (place, word) in enumerate(WORDS.items()):
        record.pack_into(memory, TABLE + at * record.size, BASE + place, BASE, 1)
        memory[place : place + len(word)] = word
    size = len(WORDS) * record.size if end is None else end
    places = {"__setup_start": (BASE + TABLE, 1), "__setup_end": (BASE + TABLE + size, 1)}
    symbols = symbol_table(bits, places if end != -1 else {"_text": (BASE, 1)}, 3)
    return open_kernel(elf_file(bits, [Part(".text", bytes(memory), BASE, ALLOC | EXEC), *symbols]))


def told(image: KernelImage, read: ReadLine = READ) -> list[str]:
    return [warning.split("`")[1] for warning in warnings(read, image)]


@pytest.mark.parametrize("bits", [32, 64])
def test_words_that_the_kernel_knows(bits: int) -> None:
    assert told(kernel(bits)) == ["no-pti", "no_pti", "retbleed", "last"]


def test_all_of_a_kernel_whose_table_is_not_found() -> None:
    assert told(kernel(64, -1)) == list(READ.unknown)


@pytest.mark.parametrize("end", [0, -24])
def test_none_of_a_table_without_words(end: int) -> None:
    assert told(kernel(64, end)) == []


def test_all_where_the_table_leaves_the_image() -> None:
    assert told(kernel(64, 24 * 1000)) == list(READ.unknown)


def test_the_first_of_a_table_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvspec.prediction.parameters._MAX_WORDS", 2)
    assert told(kernel(64)) == ["no-pti", "no_pti", "retbleed"]


def test_of_a_module_its_kernel_is_asked() -> None:
    assert told(replace(kernel(64, 0), kernel=kernel(64))) == ["no-pti", "no_pti", "retbleed", "last"]


def test_values_that_it_rejects() -> None:
    assert told(kernel(64), ReadLine({}, {}, ("pti=none", "maxcpus"))) == ["pti=none", "maxcpus"]
