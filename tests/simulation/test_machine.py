"""The machine is an i386: what it runs is what lies in memory, and its pages protect."""

from __future__ import annotations

import random

import pytest

from pvspec.x86.emulator.machine import KERNEL, PAGE, REGISTERS, Executed, Machine, Region, Stop

CODE = 0xC0100000
DATA = 0xC0200000
WINDOW = 0xD0000000
END = CODE + 64
REGISTERS_AT_START = dict.fromkeys(REGISTERS, 0) | {"eip": CODE, "esp": DATA + PAGE, "eflags": 2}


@pytest.fixture
def machine() -> Machine:
    tables = Region(0xC0300000, 8 * PAGE, writable=True)
    return Machine((Region(CODE, PAGE), Region(DATA, PAGE, writable=True), tables), tables.start, (WINDOW,))


def run(machine: Machine, code: str, limit: int = 100) -> Stop:
    machine.write(CODE, bytes.fromhex(code).ljust(64, b"\x90"))
    return machine.run(REGISTERS_AT_START, END, limit)


def test_it_runs_what_was_written_last(machine: Machine) -> None:
    """The emulator keeps translations: without care it goes on with old code, most of all behind an exception."""
    dice = random.Random(1)
    for _ in range(300):
        code = bytes(dice.choice(b"\x41\x49\xcc") for _ in range(dice.randrange(1, 5)))  # inc ecx, dec ecx, int3
        start = CODE + 2 * dice.randrange(3)
        machine.write(CODE, b"\x90" * 64)
        machine.write(start, code)
        ran, trap, _ = code.partition(b"\xcc")
        stop = machine.run(REGISTERS_AT_START, END, 100)
        assert stop == (Stop(start + len(ran), "breakpoint") if trap else Stop(END))
        assert machine.registers()["ecx"] == (2 * ran.count(b"\x41") - len(ran)) & 0xFFFFFFFF


def test_what_ran_is_told(machine: Machine) -> None:
    run(machine, "b8 78 56 34 12  eb 02  0f 0b  40", limit=3)
    assert machine.trace == [
        Executed(CODE, bytes.fromhex("b8 78 56 34 12")),
        Executed(CODE + 5, b"\xeb\x02"),
        Executed(CODE + 9, b"\x40"),
    ]
    assert machine.registers()["eax"] == 0x12345679


def test_a_limit(machine: Machine) -> None:
    assert run(machine, "eb fe", limit=10) == Stop(CODE)


@pytest.mark.parametrize(
    ("code", "stop"),
    [
        ("c6 05 00 00 20 c0 01", Stop(END)),
        ("c6 05 00 00 10 c0 01", Stop(CODE, "page fault at 0xc0100000")),  # the text is write-protected
        ("90 a1 00 00 00 10", Stop(CODE + 1, "page fault at 0x10000000")),
        ("a1 00 00 00 d0", Stop(CODE, "page fault at 0xd0000000")),  # nothing is mapped there yet
        ("0f 0b", Stop(CODE, "invalid opcode")),
        ("31 c9 f7 f1", Stop(CODE + 2, "divide error")),
        ("90 cc", Stop(CODE + 1, "breakpoint")),
        ("cd 80", Stop(CODE + 2, "interrupt 0x80")),
        ("68 11 11 11 11 c3", Stop(0x11111111, "page fault at 0x11111111")),
    ],
)
def test_exceptions(machine: Machine, code: str, stop: Stop) -> None:
    assert run(machine, code) == stop
    assert run(machine, code) == stop, "the second time, too: no double fault"


def test_a_page_is_mapped_a_second_time(machine: Machine) -> None:
    entry = (CODE - KERNEL | 3).to_bytes(4, "little")
    machine.write(machine.entry(WINDOW), entry)
    assert run(machine, "c6 05 3f 00 00 d0 41") == Stop(END)
    assert machine.read(CODE + 63, 1) == b"\x41"
    assert machine.registers()["ecx"] == 1, "what was written through the window is run"


def test_memory_that_is_not_there(machine: Machine) -> None:
    machine.write(machine.entry(WINDOW), (0x07000003).to_bytes(4, "little"))
    assert run(machine, "a1 00 00 00 d0") == Stop(CODE, "access to missing physical memory")
