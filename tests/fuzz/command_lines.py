"""Command lines as attackers make them, read by the words that a spec declares; and a kernel's own table of words."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from pvspec.engine.command_line import MAX_COMMAND_LINE, CommandLine, ReadLine, read_line, words
from pvspec.kernel import open_kernel
from pvspec.prediction.parameters import warnings
from tests.engine.test_command_line import LINUX
from tests.fuzz.elf import ALLOC, EXEC, Part, elf_file, symbol_table
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.shipped import KERNELS

_NAMES = ("pti", "nopti", "retbleed", "maxcpus", "nr_cpus", "no-replace-smp", "noreplace-smp", "spectre_v2", "nosmt")
_MORE = ("mitigations", "clearcpuid", "acpi", "nosmp", "quiet", "--", "x" * 3000, "", "é", "\udcff", "\0", "=", '"')
_VALUES = ("off", "auto", "on", "unret,nosmt", "0x1", "-1", "010", "99999999999999999999", "-0x80000001", "erms,3")
_ODD = ("", '"', '"off"', "=", ",", "," * 900, "\0", "9" * 3000, "0x" + "f" * 3000, "٣", "²", "\xa0", "\udc80")
_SPACES = (" ", "\t", "\n", "\xa0", '"', "  ", "\0", "")


def _lines() -> Iterator[bytes]:
    yield b'pti=on nopti retbleed=nosmt,unret "mitigations=off" maxcpus=0x1 nr_cpus=2 -- nosmp'
    yield b"spectre_v2=off spectre_v2=retpoline nospectre_v2 clearcpuid=smap,7 noreplace-smpx acpi=none\tquiet"


def _made(h: Hostile) -> bytes:
    """Words with values, some of them odd, between what a kernel takes for spaces."""
    text = ""
    for _ in range(min(h.times(6, 3000), 3000)):
        name = h.one(h.random.choice(_NAMES), _MORE)
        value = h.one("=" + h.random.choice(_VALUES), ("", *(f"={odd}" for odd in _ODD)))
        text += name + value + h.one(" ", _SPACES)
    return h.data(text.encode("utf-8", "surrogateescape"))


@cache
def _known() -> tuple[CommandLine, ...]:
    """How the engine's tests read a command line, and how the shipped specs do."""
    return LINUX, *(kernel.program.spec.command_line for kernel in KERNELS)


def _read(data: bytes) -> str:
    """Each variable has a value that it may have; what is beyond the kernel's buffer changes nothing."""
    text, said = data.decode("utf-8", "surrogateescape"), set[str]()
    for known in _known():
        read = read_line(text, known)
        assert read.values.keys() == known.variables.keys()
        for name, value in read.values.items():
            values = known.variables[name].values
            assert value in values if values else isinstance(value, int), name
        assert all(
            isinstance(value, int) is not bool(known.variables[name].values) for name, value in read.values.items()
        )
        assert read_line(data[:MAX_COMMAND_LINE].decode("utf-8", "surrogateescape"), known) == read
        assert len(read.unknown) == len(set(read.unknown))
        assert set(read.unknown) <= {name for name, _ in words(data.decode("latin-1")[:MAX_COMMAND_LINE])}
        changed = (name for name, value in read.values.items() if value != known.variables[name].default)
        said.update(changed, ("rejected",) * bool(read.rejected), ("unknown",) * bool(read.unknown))
    return " ".join(sorted(said))


# ---- the words that a kernel knows

_BASE, _SIZE = 0xFFFFFFFF81000000, 0x400
_TABLE = range(0x100, 0x160)  # of 24 bytes a record: where its word is, a function, whether it is early


def _memory() -> bytes:
    memory = bytearray(_SIZE)
    for at, (place, word) in zip(_TABLE[::24], ((0x20, b"nosmp"), (0x30, b"no_pti="), (0x40, b"quiet")), strict=False):
        memory[place : place + len(word)] = word
        struct.pack_into("<QQi4x", memory, at, _BASE + place, _BASE, 1)
    return bytes(memory)


def _memories(h: Hostile) -> bytes:
    """Words that are anywhere, that never end, and all of them one."""
    memory = bytearray(_memory())
    for at in _TABLE[::24]:
        struct.pack_into("<Q", memory, at, h.number(_BASE + h.random.randrange(_SIZE), 64))
    for at in range(0x20, 0x100):
        if h.happens():
            memory[at] = h.random.randrange(256)
    return bytes(memory) + b"x" * h.times(0, 1 << 18)


def _warn(data: bytes) -> str:
    """Whatever the table says: as many warnings at most as there are words, each a line that can be shown."""
    end = struct.unpack_from("<H", data.ljust(2, b"\0"))[0]
    symbols = symbol_table(64, {"__setup_start": (_BASE + _TABLE.start, 1), "__setup_end": (_BASE + end, 1)}, 3)
    image = open_kernel(elf_file(64, [Part(".text", data or b"\xc3", _BASE, ALLOC | EXEC), *symbols]))
    read = ReadLine({}, {}, ("pti=x",), ("nosmp", "no-pti", "xx", ""))
    found = list(warnings(read, image))
    assert 1 <= len(found) <= 5
    return "; ".join(found)


def _tables() -> Iterator[bytes]:
    for end in (_TABLE.stop, 0, _TABLE.start - 1, _SIZE, 0xFFFF):
        yield struct.pack("<H", end) + _memory()[2:]


def targets() -> Iterator[Target]:
    separators = (b" ", b'"', b"--", b"=", b",", b"\xa0", b"0x", b"\0")
    known = (*(name.encode() for name in _NAMES), *separators)
    yield Target("command-line", True, _lines, known, _read, _made)
    yield Target("known-words", False, _tables, (b"nosmp\0", b"\xff" * 8, bytes(8)), _warn, _memories)
