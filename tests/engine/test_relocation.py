"""Code that moves, and nops laid anew, against GNU as, capstone and an obvious model."""

from __future__ import annotations

import shutil
import subprocess
from itertools import groupby
from pathlib import Path

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.engine.errors import PatchError
from pvspec.engine.relocation import all_relaid, ones_relaid, relocated_throughout

SOURCE, SITE = 0xFFFFFFFF83080000, 0xFFFFFFFF81001000
NOPS = tuple(bytes.fromhex(n) for n in ("90", "6690", "0f1f00", "0f1f4000", "0f1f440000"))


def laid(size: int) -> bytes:
    """So many bytes of nops: the size of each tells the runs apart."""
    return b"".join([*[NOPS[-1]] * (size // 5), *([NOPS[size % 5 - 1]] if size % 5 else [])])


# ---- what GNU as makes of the same code at the other place

CALL, JMP = "call function", "jmp function"
SNIPPETS = {
    "nothing that counts": "mov %rax, %rbx; push $5; mov 8(%rdi), %rsi",
    "a call": CALL,
    "calls among others": "push %rdi; call function; pop %rdi; call function + 64; ret",
    "a jump": JMP,
    "a conditional jump": "test %eax, %eax; jne function; ret",
    "rip-relative data": "mov variable(%rip), %rax; lea variable + 8(%rip), %rdi; cmpl $7, variable(%rip)",
    "a byte behind the distance": "movb $1, variable(%rip); cmpb $0, %gs:variable(%rip); addq $0x1234, variable(%rip)",
    "an indirect call": "call *variable(%rip); jmp *variable(%rip)",
    "inside": "1: dec %rcx; jne 1b; jmp 2f; nop; 2: call function; jrcxz 1b",
    "data by vector": "movdqa variable(%rip), %xmm0; pshufd $3, variable(%rip), %xmm1; vmovdqu variable(%rip), %ymm2",
    "data with address prefix": "mov variable(%eip), %eax; push variable(%rip)",
}


def assembled(source: str, address: int, place: Path) -> bytes:
    """The code that as and ld make of it at an address; a jump out of it takes 32 bits."""
    place.joinpath("a.s").write_text(f".text; .globl _start; _start: {source}\n")
    subprocess.run(["as", "--64", "-o", "a.o", "a.s"], cwd=place, check=True)
    symbols = [f"--defsym=function={SOURCE - 0x500000:#x}", f"--defsym=variable={SOURCE + 0x7000:#x}"]
    subprocess.run(["ld", "-o", "a.elf", f"-Ttext={address:#x}", *symbols, "a.o"], cwd=place, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", "a.elf", "a.bin"], cwd=place, check=True)
    return place.joinpath("a.bin").read_bytes()


@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS)
def test_as_if_assembled_there(snippet: str, tmp_path: Path) -> None:
    if shutil.which("as") is None:
        pytest.skip("as is not installed (Debian package binutils)")
    here, there = (assembled(snippet, address, tmp_path) for address in (SOURCE, SITE))
    assert relocated_throughout(here, SOURCE, SITE, 64) == there


# ---- by what capstone says of targets

Reading = tuple[str, str]


def readings(code: bytes, address: int, bits: int) -> list[Reading]:
    """Instructions with what they lead to; int3 is filling."""
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32)
    engine.detail = True
    found = []
    for instruction in engine.disasm(code, address):
        text = instruction.op_str
        if "[rip" in text:
            end = instruction.address + instruction.size
            text = f"{text.partition('[')[0]} -> {end + instruction.disp:#x}"
        if instruction.mnemonic != "int3":
            found.append((instruction.mnemonic, text))
    assert sum(i.size for i in engine.disasm(code, address)) == len(code)
    return found


REL32 = st.integers(-(2**20), 2**20).map(lambda value: value.to_bytes(4, "little", signed=True))
MOVES = st.lists(
    st.one_of(
        st.builds(lambda head, field: head + field, st.sampled_from([b"\xe8", b"\xe9", b"\x0f\x85"]), REL32),
        st.builds(lambda field: b"\x48\x8b\x05" + field, REL32),
        st.builds(lambda field, byte: b"\x80\x3d" + field + byte, REL32, st.binary(min_size=1, max_size=1)),
        st.sampled_from([b"\x90", b"\x55", b"\x48\x89\xe5", b"\xb8\x00\x10\x00\x00"]),
    ),
    min_size=1,
    max_size=6,
)


@given(MOVES, st.integers(-(2**24), 2**24))
def test_targets_stay(parts: list[bytes], distance: int) -> None:
    code = b"".join(parts)
    site = SOURCE + distance
    moved = relocated_throughout(code, SOURCE, site, 64)
    before, after = readings(code, SOURCE, 64), readings(moved, site, 64)
    inside = range(SOURCE, SOURCE + len(code) + 1)
    assert len(moved) == len(code)
    assert [m for m, _ in before] == [m for m, _ in after]
    for (_, old), (_, new) in zip(before, after, strict=True):
        target = int(old.rpartition("0x")[2] or "0", 16) if "0x" in old else None
        assert old == new or target in inside  # what leads into the copy moves with it


@pytest.mark.parametrize(
    ("distance", "moved"),
    [
        (127, "eb 7f cc cc cc"),
        (128, "e9 7d 00 00 00"),
        (-128, "eb 80 cc cc cc"),
        (-129, "e9 7c ff ff ff"),
    ],
)
def test_a_jump_in_reach_becomes_short(distance: int, moved: str) -> None:
    """`distance` counts from behind the short jump. It need not lead out of the copy."""
    target = SITE + 2 + distance
    code = b"\xe9" + (target - SOURCE - 5).to_bytes(4, "little", signed=True)
    assert relocated_throughout(code, SOURCE, SITE, 64).hex(" ") == moved


@pytest.mark.parametrize("code", ["e8 01 00 00 00 90", "e8 fb ff ff ff 90", "90 e8 fa ff ff ff"])
def test_what_leads_to_either_end_stays(code: str) -> None:
    """The end, too: arch/x86/kernel/alternative.c of Linux 6.12, need_reloc."""
    assert relocated_throughout(bytes.fromhex(code), SOURCE, SITE, 64).hex(" ") == code


def test_what_cannot_be_reached() -> None:
    with pytest.raises(PatchError, match="the target of the code at 0xffffffff83080001 is out of reach"):
        relocated_throughout(b"\x90\xe8\0\0\0\x7f", SOURCE, SOURCE - 2**30, 64)
    with pytest.raises(PatchError, match="out of reach"):
        relocated_throughout(b"\x75\x10", SOURCE, SITE, 64)  # a short one, for which there is no room


def test_what_does_not_decode_ends_it() -> None:
    code = bytes.fromhex("e8 00 01 00 00  0f 04  e8 00 01 00 00")
    assert relocated_throughout(code, SOURCE, SOURCE - 16, 64).hex() == "e810010000" + "0f04" + "e800010000"


def test_addresses_of_32_bits_wrap() -> None:
    code = bytes.fromhex("90 e8 00 01 00 00 a1 00 00 00 00")  # a mov of i386 is absolute
    assert relocated_throughout(code, 0xF0000000, 0x10000000, 32).hex() == "90e8000100e0a100000000"


# ---- nops

CODES = ("50", "b8 90 90 90 90", "48 89 c3", "f3 90", "c3", "0f 1e fa", "0f 0b")
INSTRUCTIONS = [bytes.fromhex(code) for code in CODES]
SOME_NOPS = [*NOPS, *map(bytes.fromhex, ("66 0f 1f 44 00 00", "66 66 90", "49 90", "2e 0f 1f 84 00 00 00 00 00"))]


def model(parts: list[bytes]) -> bytes:
    """Runs of nops are laid anew, but for a single one at the very end."""
    groups = [(is_nop, list(run)) for is_nop, run in groupby(parts, key=SOME_NOPS.__contains__)]
    out = b""
    for number, (is_nop, run) in enumerate(groups):
        last = number == len(groups) - 1
        out += laid(sum(map(len, run))) if is_nop and not (last and len(run) == 1) else b"".join(run)
    return out


@given(st.lists(st.sampled_from([*SOME_NOPS, *SOME_NOPS, *INSTRUCTIONS]), max_size=12))
def test_runs_of_any_nops(parts: list[bytes]) -> None:
    assert all_relaid(b"".join(parts), laid, 64) == model(parts)


@given(st.lists(st.sampled_from([b"\x90", b"\x90", *INSTRUCTIONS]), max_size=12))
def test_runs_of_one_byte_nops(parts: list[bytes]) -> None:
    groups = [(is_nop, list(run)) for is_nop, run in groupby(parts, key=lambda part: part == b"\x90")]
    expected = b"".join(laid(len(run)) if is_nop else b"".join(run) for is_nop, run in groups)
    assert ones_relaid(b"".join(parts), laid, 64) == expected


@pytest.mark.parametrize("relay", [all_relaid, ones_relaid])
def test_nops_behind_what_does_not_decode_stay(relay: object) -> None:
    assert callable(relay)
    code = bytes.fromhex("90 90 50 0f 04 90 90")
    assert relay(code, laid, 64).hex(" ") == "66 90 50 0f 04 90 90"
