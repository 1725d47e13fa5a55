"""GNU as as the independent judge of what a statement means."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pvspec.x86.code import Code, Hole

TEXT = 0x400000
SYMBOLS = {"sym": 0x345678, "other": 0x123456, "little": 0x41, "middle": 0x1234}
_COMPLAINT = re.compile(r"a\.s:(\d+): (?:Error|Warning: (?!mnemonic suffix used|NOTE: Such forms))")
Judge = Callable[[list[str], int], list[tuple[int, bytes] | None]]


def fill(code: Code, site: int, symbols: Mapping[str, int], bits: int) -> bytes:
    """Fill the holes of code that stands at `site`, as documented at Hole."""
    data = bytearray(code.data)
    for hole in code.holes:
        value = symbols[hole.symbol] + hole.addend - (site + hole.end if hole.relative else 0)
        data[hole.offset : hole.offset + hole.size] = _fitted(value, hole, bits)
    return bytes(data)


def _fitted(value: int, hole: Hole, bits: int) -> bytes:
    if bits == 32 and hole.size == 4:
        value %= 1 << 32
        return value.to_bytes(4, "little")
    return value.to_bytes(hole.size, "little", signed=hole.signed)


@pytest.fixture(name="fill")
def _fill() -> Callable[..., bytes]:
    return fill


@pytest.fixture
def symbols() -> Mapping[str, int]:
    return SYMBOLS


@pytest.fixture(scope="session")
def gnu_as(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Assemble and link many statements at once: the site and the bytes of each, None for a refused one."""
    for tool in ("as", "ld", "nm", "objcopy"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs binutils: {tool} is not installed")
    folder = tmp_path_factory.mktemp("gnu_as")
    return lambda statements, bits: _judged(folder, statements, bits)


def _judged(folder: Path, statements: list[str], bits: int) -> list[tuple[int, bytes] | None]:
    accepted = _accepted(folder, statements, bits)
    emulation = {32: "elf_i386", 64: "elf_x86_64"}[bits]
    defined = [f"--defsym={name}={value:#x}" for name, value in SYMBOLS.items()]
    linked, image = folder / "a.elf", folder / "a.bin"
    _run("ld", "-m", emulation, "-Ttext", hex(TEXT), "-e", hex(TEXT), *defined, "-o", linked, folder / "a.o")
    _run("objcopy", "-O", "binary", "-j", ".text", linked, image)
    text = image.read_bytes()
    found = re.findall(r"^(\w+) \w __s(\d+)$", _run("nm", linked), re.MULTILINE)
    places = {int(number): int(address, 16) for address, number in found}
    ends = dict(zip(accepted, [*accepted[1:], len(statements)], strict=True))
    return [
        (places[n], text[places[n] - TEXT : places[ends[n]] - TEXT]) if n in ends else None
        for n in range(len(statements))
    ]


def _accepted(folder: Path, statements: list[str], bits: int) -> list[int]:
    """Assemble again without the statements complained about, until nothing is; warnings count.

    Not so that of newer binutils (2.47, not 2.40) that `lretq` is deprecated: it means what it meant.
    """
    left = list(range(len(statements)))
    while True:
        lines = [f"__s{n}: {statements[n]}" for n in left]
        source = folder / "a.s"
        source.write_text("\n".join([".intel_syntax noprefix", *lines, f"__s{len(statements)}:", ""]))
        run = subprocess.run(
            ["as", f"--{bits}", "-o", folder / "a.o", source], capture_output=True, text=True, check=False
        )
        refused = {int(line) - 2 for line in _COMPLAINT.findall(run.stderr)}
        if not refused:
            assert run.returncode == 0, run.stderr
            return left
        left = [n for place, n in enumerate(left) if place not in refused]


def _run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
