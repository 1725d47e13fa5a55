"""Kernels whose tables point anywhere: predicted, patched, poked."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from pvspec.compiler.cached import load_spec
from pvspec.engine.errors import PatchError
from pvspec.engine.guards import CpuHasField
from pvspec.engine.records import PatchSite, build_records
from pvspec.engine.spec import Copy, Family, Spec
from pvspec.kernel import ImageError, KernelImage, open_kernel
from pvspec.kernel.dump.dump import open_dump
from pvspec.prediction.bind import Bound, bind
from pvspec.prediction.cpu import read_cpu
from pvspec.prediction.difference import difference
from pvspec.prediction.machine import Machine, PredictionError
from pvspec.prediction.passes import run_passes
from tests.engine.samples import make_kernel, make_spec, make_table
from tests.engine.test_families import ALT, LOCK, UNLOCK
from tests.fuzz.cell import expected
from tests.fuzz.elf import ALLOC, EXEC, Part, elf_file, symbol_table
from tests.fuzz.files import written
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target

BASE = 0xFFFFFFFF81000000
_CODE = {
    **{0x00: "ff 15 fa 02 00 00", 0x10: "ff 15 f2 02 00 00", 0x20: "e8 3b 00 00 00", 0x30: "0f 1f 44 00 00"},
    **{0x38: "66 90", 0x40: "e8 1b 00 00 00", 0x48: "c3", 0x50: "f0 ff 00", 0x58: "e8 23 00 00 00", 0x60: "90" * 9},
    **{0x69: "c3", 0x70: "2e e8 0a 00 00 00", 0x80: "ff e0", 0x88: "8a 00", 0x90: "65 48 c1 3d 00 01 00 00 05"},
    **{0xA0: "e9 00 00 00 00", 0x100: "0f ae e8", 0x108: "e8 10 00 00 00", 0x110: "48 8b 05 10 00 00 00"},
}
_SYMBOLS = {
    **{"_text": 0, "thunk_rax": 0x80, "thunk_rcx": 0x82, "thunk_r8": 0x84, "template": 0x90, "__SCT__a": 0xA0},
    **{"text_poke": 0xF0, "nop_func": 0xF8, "_etext": 0x180, "pv_ops": 0x300, "secret": 0x320, "__SCK__a": 0x328},
    **{"__start_jumps": 0x1E0, "__stop_jumps": 0x200, "__start_static_calls": 0x200, "__stop_static_calls": 0x210},
}
_SECTIONS = {
    **{".text": (0, 0x180), ".parainstructions": (0x180, 0x1A0), ".altinstructions": (0x1A0, 0x1C4)},
    **{".retpoline_sites": (0x210, 0x218), ".call_sites": (0x218, 0x21C), ".smp_locks": (0x220, 0x228)},
    **{".runtime_consts": (0x228, 0x22C), ".rodata": (0x240, 0x280), ".data": (0x300, 0x380)},
}
_SIZE = 0x380
_CODES = tuple(bytes.fromhex(code) for code in (*_CODE.values(), "e9 00 00 00 00", "0f 84 00 00 00 00", "eb fe"))


def _memory() -> bytes:
    memory = bytearray(_SIZE)
    for at, code in _CODE.items():
        memory[at : at + len(bytes.fromhex(code))] = bytes.fromhex(code)
    sites = ((BASE, 0, 6, 3), (BASE + 0x10, 1, 6, 0))
    memory[0x180:0x1A0] = b"".join(struct.pack("<QBBH4x", *site) for site in sites)
    records = ((0x20, 0x108, 9 * 32 + 9, 5, 5), (0x20, 0x100, 0x8000, 5, 3), (0x88, 0x110, 9 * 32 + 9, 7, 7))
    for at, (site, to, feature, size, copied) in zip(range(0x1A0, 0x1DC, 12), records, strict=False):
        struct.pack_into("<iiHBB", memory, at, site - at, to - at - 4, feature, size, copied)
    for at, site, key in ((0x1E0, 0x30, 0x330), (0x1F0, 0x38, 0x331)):
        struct.pack_into("<iiq", memory, at, site - at, 0x48 - at - 4, key - at - 8)
    for at, site, key in ((0x200, 0x40, 0x340), (0x208, 0x58, 0x349)):
        struct.pack_into("<ii", memory, at, site - at, key - at - 4)
    for at, site in ((0x210, 0x70), (0x214, 0x58), (0x218, 0x40), (0x220, 0x50), (0x228, 0x48)):
        struct.pack_into("<i", memory, at, site - at)
    memory[0x240:0x260] = b"Linux version 6.1.0 (builder)   "
    words = BASE + 0xF8, BASE + 0x69, 0, BASE + 0x48, 0x0601, BASE + 0x69, 1, 0, BASE + 0x69
    struct.pack_into("<9Q", memory, 0x300, *words)
    return bytes(memory)


def vmlinux(memory: bytes | None = None) -> bytes:
    """The kernel as an ELF file."""
    memory = _memory() if memory is None else memory
    parts = [
        Part(name, memory[start:end], BASE + start, ALLOC | EXEC * (name == ".text"))
        for name, (start, end) in _SECTIONS.items()
    ]
    tables = Part(".tables", memory[0x1E0:0x210], BASE + 0x1E0)
    symbols = {name: (BASE + at, 1) for name, at in _SYMBOLS.items()}
    return elf_file(64, [*parts, tables, *symbol_table(64, symbols, len(parts) + 3)])


def made_kernel(h: Hostile) -> bytes:
    """A kernel whose tables say anything."""
    return vmlinux(_memories(h))


@cache
def _image() -> KernelImage:
    image = open_kernel(written(vmlinux(), "vmlinux"))
    assert image.memory == _memory()
    return image


@cache
def _spec() -> Spec:
    return load_spec(Path(__file__).with_name("kernel.pvs"))


def _choices(seed: int) -> Machine:
    """Whatever else the bytes depend on."""
    name = (None, "Haswell", "EPYC")[seed % 3]
    cpu = None if name is None else read_cpu(name)
    cmdline = ("", "off", "clearcpuid=erms,300", 'clearcpuid="')[seed // 3 % 4]
    cpus, nops = (None, 1, 2)[seed // 24 % 3], (None, "k8")[seed // 12 % 2]
    return Machine(cpu=cpu, cpus=cpus, cmdline=cmdline, nops=nops)


def _memories(h: Hostile) -> bytes:
    """The memory, with fields of its tables wrong: sites, targets, features, lengths, keys."""
    memory = bytearray(_memory())
    for start, end in ((0x180, 0x22C), (0x300, 0x350), (0, 0x118)):
        for at in range(start, end, 4):
            for size in (1, 2, 4):
                if h.happens(0.2):
                    value = h.number(int.from_bytes(memory[at : at + size], "little"), 8 * size)
                    memory[at : at + size] = value.to_bytes(size, "little")
    return bytes(memory)


def _predict(data: bytes) -> str:
    """What is predicted is what patching makes, or both refuse."""
    seed, memory = crc32(data), bytearray(data[:_SIZE].ljust(_SIZE, b"\0"))
    image, dump = replace(_image(), memory=memory), None
    try:
        if seed & 1 << 20:  # the memory is that of a running kernel
            image, dump = _image(), open_dump(written(bytes(memory), "dump"), _image())
        bound = bind(_spec(), image, _choices(seed), dump)
    except (PredictionError, ImageError) as error:
        return expected(error)
    patched = _patched(bound)
    try:
        prediction = run_passes(bound)
    except PredictionError as error:
        assert patched is None or "overlaps site" in str(error)  # of another table: the applier looks at each alone
        return expected(error)
    assert patched is None or patched == prediction.memory
    base = memoryview(image.memory)[prediction.start - image.base : prediction.end - image.base]
    difference(prediction, base, prediction.text)
    assert all(cell for site in prediction.sites for form in site.others for cell in form.code.split(" "))
    return " ".join(sorted({site.where for site in prediction.sites}))


def _patched(bound: Bound) -> bytearray | None:
    try:
        return bound.patched()[0]
    except PredictionError:
        return None


# ---- the applier, on tables made by hand

_TEXT, _START = 0x1000, 176
_RECORDS = {"pv": (0, 64), "alt": (64, 160), "locks": (160, 176)}


@cache
def _kernel(bits: int) -> Any:
    copy = Copy("a.pvs:3", CpuHasField("cpuid"), address="repl", size="repl_len", relocated=True)
    families = [Family("alt", ALT, (copy,), stacked=True), Family("locks", LOCK, UNLOCK, length=1)]
    return make_kernel(make_spec(bits, families=families), features=["FAST"], cpus=1, targets={5: 0x1080, 6: 0x1090})


def _sites() -> Iterator[bytes]:
    sites = [PatchSite(_TEXT + 0x10 * at, number, 6, 7) for at, number in enumerate((1, 2, 3, 4, 5, 6, 7, 1))]
    records = [
        {"site": _TEXT + 0x90 + 8 * at, "repl": _TEXT + 0xC0, "cpuid": 3, "len": 8, "repl_len": at} for at in range(8)
    ]
    tables = make_table(sites)[:64], build_records(ALT, records, _TEXT), struct.pack("<4I", 0x1081, 0x1082, 0, 0x1083)
    yield b"".join(tables) + b"\xaa" * 192 + bytes.fromhex("e9 00 00 00 00 e8 00 00 00 00 0f ae e8") + bytes(32)
    yield b"".join(tables) + bytes(range(256))


def _apply(data: bytes) -> str:
    """By the quick way and poke by poke, whole tables or none of them."""
    tables = {name: (data[start:end], _TEXT) for name, (start, end) in _RECORDS.items()}
    text, kernel = data[_START:], _kernel(32)
    whole, said = _outcome(kernel.apply_passes, tables, text)
    poked = bytearray(text)

    def poke(address: int, code: bytes) -> None:
        poked[address - _TEXT : address - _TEXT + len(code)] = code

    assert _outcome(kernel.apply_passes, tables, text, poke=poke) == (bytearray(text), said)
    assert poked == whole
    assert _outcome(kernel.apply_passes, tables, text, strategy="breakpoint") == (whole, said)
    table = tables["pv"][0]
    alone, why = _outcome(kernel.apply, table, text)
    assert _outcome(kernel.apply_passes, {"pv": (table, 0)}, text) == (alone, why)
    return said + why


def _outcome(
    apply: Any, tables: Mapping[str, tuple[bytes, int]] | bytes, text: bytes, **how: Any
) -> tuple[bytearray, str]:
    """The text, and why it was refused: then it is as before."""
    image = bytearray(text)
    try:
        apply(tables, image, _TEXT, **how)
    except PatchError as error:
        assert image == text
        return image, str(error)
    return image, ""


def targets() -> Iterator[Target]:
    yield Target("predict", False, lambda: [_memory()], _CODES, _predict, _memories)
    yield Target("apply", False, _sites, _CODES, _apply)
