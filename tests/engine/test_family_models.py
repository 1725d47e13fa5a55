"""Families that read memory, rules written with `each`, policy, relocated copies: against a slow and obvious model."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvspec.compiler.pipeline import load

SPEC = """
machine x86_64 {
    bits 64
    feature ERMS  9*32 + 9  "erms"
    feature SLOW  3*32 + 1
    nops p6 { "90"  "66 90"  "0f 1f 00"  "0f 1f 40 00"  "0f 1f 44 00 00" }
    choose nops p6
}
cmdline {
    variable erms = yes { no, yes }
    early_param "noerms" -> erms = no
}
decide decisions in "x.c" {
    set   SLOW  when cpu vendor is amd
    clear ERMS  when (cpu has SLOW and cpu family >= 0x17) or erms is no
}
family labels {
    table ".labels" { site rel32  to rel32  branch u1  key rel63 << 1 }
    reads enabled s32 at key
    len instruction
    jmp to        when (enabled and not branch) or (not enabled and branch)
    jmp short to  when (enabled and not branch) or (not enabled and branch)
    nop
}
family calls {
    table ".calls" { site rel32  tail u1  key rel31 << 1 }
    reads function u64 at key + 8
    len 5
    bytes "c3 cc cc cc cc"  when tail and function is null
    jmp function            when tail
    nop                     when function is null
    call function
}
family thunks {
    table ".thunks" { site rel32 }
    len 5
    each reg in rax, rcx {
        symbol thunk_$reg
        asm "call $reg"       when site is call thunk_$reg
        asm "jmp $reg; int3"  when site is jmp thunk_$reg
    }
}
family copies {
    table ".copies" { site rel32  repl rel32  cpuid u16 }
    len 5
    copy repl 5 relocated  when cpu has cpuid
}
passes { labels, calls, thunks, copies }
"""
BASE = 0xFFFFFFFF81000000
SIZE, KEYS = 0x400, 0x300  # bytes of the image, and where in it the keys begin
THUNKS = {"thunk_rax": (BASE + 0x2E0, 0xD0, 0xE0), "thunk_rcx": (BASE + 0x2E8, 0xD1, 0xE1)}
NOPS = ("", "90", "66 90", "0f 1f 00", "0f 1f 40 00", "0f 1f 44 00 00")
ERMS = 9 * 32 + 9


class Made(NamedTuple):
    """A site: its table and record, its code before, what it reads (bytes at an address), and its code after."""

    table: str
    record: dict[str, int]
    before: bytes
    memory: bytes
    after: bytes


def nops(size: int) -> bytes:
    return bytes.fromhex(NOPS[size])


def rel32(opcode: int, site: int, to: int) -> bytes:
    return bytes([opcode]) + (to - site - 5).to_bytes(4, "little", signed=True)


@st.composite
def labels(draw: st.DrawFn, site: int, key: int) -> Made:
    before, enabled = draw(st.sampled_from([nops(5), nops(2)])), draw(st.sampled_from([0, 1, 2, -1, 256]))
    branch, to = draw(st.integers(0, 1)), site + draw(st.integers(-100, 100))
    short = b"\xeb" + (to - site - 2).to_bytes(1, "little", signed=True)
    jump = rel32(0xE9, site, to) if len(before) == 5 else short
    after = jump if bool(enabled) != bool(branch) else nops(len(before))
    record = {"site": site, "to": to, "branch": branch, "key": key}
    return Made("labels", record, before, enabled.to_bytes(4, "little", signed=True), after)


@st.composite
def calls(draw: st.DrawFn, site: int, key: int) -> Made:
    tail, function = draw(st.integers(0, 1)), draw(st.sampled_from([0, BASE, BASE + 0x123, BASE - 2**30]))
    none = bytes.fromhex("c3 cc cc cc cc") if tail else nops(5)
    after = rel32(0xE9 if tail else 0xE8, site, function) if function else none
    return Made(
        "calls", {"site": site, "tail": tail, "key": key}, bytes(5), bytes(8) + function.to_bytes(8, "little"), after
    )


@st.composite
def thunks(draw: st.DrawFn, site: int, key: int) -> Made:
    thunk, call, jmp = draw(st.sampled_from(list(THUNKS.values())))
    opcode, off = draw(st.sampled_from([0xE8, 0xE9])), draw(st.sampled_from([0, 0, 1]))
    before = rel32(opcode, site, thunk + off)
    code = bytes([0xFF, call]) + nops(3) if opcode == 0xE8 else bytes([0xFF, jmp, 0xCC]) + nops(2)
    return Made("thunks", {"site": site}, before, b"", before if off else code)


@st.composite
def copies(draw: st.DrawFn, site: int, key: int, erms: bool) -> Made:
    distance, opcode = draw(st.integers(-200, 200)), draw(st.sampled_from([0xE8, 0xE9, 0x0F]))
    repl, before = bytes([opcode]) + distance.to_bytes(4, "little", signed=True), b"\x90" * 5
    cpuid, target = draw(st.sampled_from([ERMS, 77])), key + 5 + distance
    if cpuid != ERMS or not erms:
        after = before
    elif opcode == 0xE9 and 0 <= target - site <= 129:
        after = bytes([0xEB, target - site - 2]) + nops(3)
    else:
        after = repl if opcode == 0x0F else rel32(opcode, site, target)
    return Made("copies", {"site": site, "repl": key, "cpuid": cpuid}, before, repl, after)


class Cpu(NamedTuple):
    vendor: str
    family: int
    erms: bool
    cmdline: str

    @property
    def decided(self) -> bool:
        """What the policy leaves of the feature."""
        return self.erms and not (self.vendor == "AuthenticAMD" and self.family >= 0x17) and self.cmdline != "noerms"


CPUS = st.builds(
    Cpu,
    st.sampled_from(["AuthenticAMD", "GenuineIntel"]),
    st.sampled_from([6, 0x16, 0x17, 0x19]),
    st.booleans(),
    st.sampled_from(["", "noerms", "quiet"]),
)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path = tmp_path_factory.mktemp("spec") / "families.pvs"
    path.write_text(SPEC, encoding="utf-8")
    return load(path)


@settings(max_examples=150)
@given(data=st.data(), cpu=CPUS)
def test_as_the_model_says(module: ModuleType, data: st.DataObject, cpu: Cpu) -> None:
    text, expected, made = bytearray(b"\xf4" * SIZE), bytearray(b"\xf4" * SIZE), list[Made]()
    for at in data.draw(st.lists(st.integers(0, 15), unique=True, max_size=12)):
        site, key = BASE + at * 8 + at % 3, BASE + KEYS + at * 16
        kinds = [labels(site, key), calls(site, key), thunks(site, key), copies(site, key, cpu.decided)]
        made.append(one := data.draw(st.one_of(kinds)))
        for image, code in (text, one.before), (expected, one.after):
            image[site - BASE : site - BASE + len(code)] = code
            image[key - BASE : key - BASE + len(one.memory)] = one.memory
    assert applied(module, made, text, cpu) == expected


def applied(module: ModuleType, made: list[Made], text: bytearray, cpu: Cpu) -> bytearray:
    """The text when all passes are done."""
    kernel = module.bind(
        cpu=module.Cpu(cpu.vendor, cpu.family, 1, 1),
        features=["ERMS"] if cpu.erms else [],
        cmdline=cpu.cmdline,
        symbols={name: address for name, (address, _, _) in THUNKS.items()},
    )
    tables: dict[str, tuple[Any, int]] = {}
    for number, (name, family) in enumerate(module.SPEC.families.items()):
        address = BASE + 0x10000 * (number + 1)
        records = [one.record for one in made if one.table == name]
        tables[name] = module.build_records(family.layout, records, address), address
    kernel.apply_passes(tables, text, BASE)
    return text
