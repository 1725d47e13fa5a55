"""Instruction lengths, against iced's: it tells which bytes are an instruction, which is not asked here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from iced_x86 import Code, Decoder

from pvspec.engine.instructions import instruction_length

MODES = (32, 64)
PREFIXES = ("", "66", "67", "6667", "f0", "f2", "f3", "2e66", "48", "6648", "4866", "6741")
MAPS = {"one-byte": "", "0f": "0f", "0f38": "0f38", "0f3a": "0f3a"}
VEX = {
    "2 bytes": "c5 {f8,f9,fa,fb,fc}",
    "3 bytes, 0f": "c4 e1 {78,79,7a,7b,f9,7c}",
    "3 bytes, 0f38": "c4 e2 {78,79,7a,7b,f9,7d}",
    "3 bytes, 0f3a": "c4 e3 {79,7b,f9,7d}",
    "evex, 0f": "62 f1 {7c,7d,7e,7f,fd,fe,ff} 48",
    "evex, 0f38": "62 f2 {7d,7e,7f,fd} 48",
    "evex, 0f3a": "62 f3 {7c,7d,fd} 48",
    "evex, map 5": "62 f5 {7c,7d,7e,7f} 48",
    "evex, map 6": "62 f6 {7d,7e,7f} 48",
}
# ModRM and SIB bytes: each way to address memory, then each ModRM.reg with memory and with a register
ADDRESSED = ("00", "0424", "0425", "042d", "05", "06", "4424", "45", "46", "80", "8425", "85", "86", "c4", "c5")
OPERANDS = [*map(bytes.fromhex, ADDRESSED), *(bytes([mod + 8 * reg]) for reg in range(1, 8) for mod in (0, 0xC0))]
REST = bytes.fromhex("1122334455667708090a0b0c0d0e")


def iced_length(code: bytes, bits: int) -> int:
    """0 if iced takes it for no instruction."""
    instruction = Decoder(bits, code).decode()
    return 0 if instruction.code == Code.INVALID else instruction.len


def read_otherwise(code: bytes, bits: int) -> bool:
    """Whether iced by principle is not the measure: the kernel's decoder reads this code otherwise, or not at all."""
    start = next((n for n, byte in enumerate(code) if not is_prefix(byte, bits)), len(code))
    prefixes, opcode = code[:start], code[start:]
    if opcode[:1] == b"\x8f":
        return opcode[1] & 0x1F >= 8  # AMD's XOP, here pop
    if opcode[:1] != b"\x0f":
        return False
    if opcode[1] in range(0x20, 0x24):  # mov of control and debug registers
        return opcode[2] < 0xC0  # CPUs ignore ModRM.mod, and assemblers write 3
    if opcode[1] == 0x78:
        return b"\x66" in prefixes or b"\xf2" in prefixes  # AMD's extrq and insertq, here vmread
    # ud0, to CPUs with a ModRM byte; ud2 and a name, which is a prefix to hypervisors
    return opcode[1] == 0xFF or opcode[:5] in (b"\x0f\x0bxen", b"\x0f\x0bkvm")


def is_prefix(byte: int, bits: int) -> bool:
    return byte in bytes.fromhex("262e363e64656667f0f2f3") or (bits == 64 and 0x40 <= byte < 0x50)


def check(starts: Iterator[bytes], bits: int) -> int:
    """The number of instructions compared."""
    compared, wrong = 0, []
    for start in starts:
        code = start + REST
        expected = iced_length(code, bits)
        if expected and not read_otherwise(code, bits):
            compared += 1
            if instruction_length(code, 0, bits) != expected:
                wrong.append((code.hex(), expected))
    assert not wrong
    return compared


@pytest.mark.parametrize("bits", MODES)
@pytest.mark.parametrize("escape", MAPS.values(), ids=MAPS)
def test_all_opcodes(escape: str, bits: int) -> None:
    starts = (
        bytes.fromhex(prefix + escape) + bytes([opcode]) + operand
        for prefix, opcode, operand in product(PREFIXES, range(256), OPERANDS)
    )
    assert check(starts, bits) > 1000


@pytest.mark.parametrize("bits", MODES)
@pytest.mark.parametrize("prefix", VEX.values(), ids=VEX)
def test_all_vex_opcodes(prefix: str, bits: int) -> None:
    head, _, choice = prefix.partition("{")
    choices, _, tail = choice.partition("}")
    starts = (
        bytes.fromhex(address + head + chosen + tail) + bytes([opcode]) + operand
        for address, chosen, opcode, operand in product(("", "67"), choices.split(","), range(256), OPERANDS)
    )
    assert check(starts, bits) > 500


@pytest.mark.parametrize(
    ("opcode", "bits"),
    [*product(("8b", "c7", "678b", "67c7", "f6", "66f7", "0fae"), MODES), ("62", 32), ("c4", 32), ("c5", 32)],
)
def test_all_modrm_bytes(opcode: str, bits: int) -> None:
    """Each with SIB bytes of every base and most scales and indices."""
    starts = (bytes.fromhex(opcode) + bytes(operand) for operand in product(range(256), range(0, 256, 5)))
    assert check(starts, bits) > 1000


@given(st.binary(min_size=1, max_size=17), st.sampled_from(MODES))
@example(bytes(15), 32)
@example(b"\x66" * 14 + b"\x90", 64)
@example(b"\x66" * 15 + b"\x90", 64)
def test_random_bytes(code: bytes, bits: int) -> None:
    """iced needs an instruction's every byte, too: a length where it has none must not exceed the code."""
    length = instruction_length(code, 0, bits)
    expected = iced_length(code, bits)
    if expected and not read_otherwise(code + REST, bits):
        assert length == expected
    assert 0 <= length <= min(15, len(code))


def test_each_cut_is_no_instruction() -> None:
    code = bytes.fromhex("f0 65 48 81 84 25 00000000 11223344")  # lock addq $imm, %gs:disp(%rbp)
    assert instruction_length(code, 0, 64) == len(code)
    assert not any(instruction_length(code[:cut], 0, 64) for cut in range(len(code)))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_walk(kind: type[bytes | bytearray | memoryview]) -> None:
    """A site of Linux 6.1: call *disp(%rip), as mov $0x90909090, %eax; nop; popf; nop."""
    code, at, starts = kind(bytes.fromhex("ff1511223344 b890909090 90 9d 90")), 0, []
    while length := instruction_length(code, at, 64):
        starts.append(at)
        at += length
    assert starts == [0, 6, 11, 12, 13]
    assert at == len(code)


@pytest.mark.parametrize(
    ("code", "bits", "length"),
    [
        ("0f0b78656e 0fa2", 64, 7),  # XEN_EMULATE_PREFIX cpuid
        ("0f0b6b766d 0fa2 90", 32, 7),
        ("0fff c0", 64, 2),  # UD0
        ("660f78c0 0102", 64, 4),
        ("0f2000", 32, 3),
        ("66e9 1122334455", 64, 6),  # AMD: 4 bytes
        ("66e9 1122334455", 32, 4),
        ("4866b8 1122334455667788", 64, 5),  # REX.W before another prefix counts for nothing
        ("0f04 0000", 64, 0),
        ("0f3f 0000", 32, 0),
        ("06 0000", 64, 0),
        ("06 0000", 32, 1),
        ("c4e0 780000", 64, 0),  # no such map
        ("62f4 7c4800c0", 64, 0),
        ("", 64, 0),
        ("0f", 64, 0),
    ],
)
def test_where_iced_is_not_the_measure(code: str, bits: int, length: int) -> None:
    assert instruction_length(bytes.fromhex(code), 0, bits) == length
