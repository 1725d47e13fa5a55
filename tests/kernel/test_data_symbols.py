"""Data symbols found in a small kernel, linked by binutils, against those of its linker; and in a Debian kernel.

A test changes a line of the kernel's source so that something is no longer certain, and it must not be found then.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.kernel import KernelImage, open_kernel
from pvspec.kernel.symbols.data_symbols import find_data_symbols
from pvspec.kernel.symbols.table import Symbol
from pvspec.kernel.work import Work

from ..oracle import fetch
from .binutils import BASE, assemble, run
from .test_kallsyms import encode

MCOUNT = {"__start_mcount_loc", "__stop_mcount_loc"}
JUMPS = {"__start___jump_table", "__stop___jump_table"}

KERNEL = """
    .macro traced
    1:  call __fentry__
        .pushsection .data, 1
        .long 1b
        .popsection
    .endm
    .macro entry target, flags=0
        .pushsection .data, 2
        .long 1b - ., \\target - ., switch + \\flags - .
        .popsection
    .endm
    .macro static_call name, initial, section=.data
        .text
        __SCT__\\name: jmp.d32 \\initial
        .section \\section
        .balign 4
        __SCK__\\name: .long \\initial
        .text
    .endm
    .macro static_call_null name
        .text
        __SCT__\\name: ret; int3; nop; nop; nop
        .bss
        __SCK__\\name: .long 0
        .text
    .endm

    .data 1
    __start_mcount_loc:
    .data 2
    .balign 4
    .long 0x12345678
    __start___jump_table:

    .text
    _text:
    __fentry__: ret
    first: traced
        ret
    .rept 40
        traced
        ret
    .endr
    arch_static_call_transform: ret
    __static_call_update:
        ret
    __static_call_update.constprop.0:
        ret

    labels:
    .rept 32
    1:  .byte 0x3e, 0x8d, 0x74, 0x26, 0x00
        entry 2f
    1:  .byte 0x66, 0x90
        entry 2f, 3
    1:  jmp.d32 2f
        entry 2f, 1
    1:  .byte 0xeb, 2f - . - 1
        entry 2f
    2:  nop
    .endr
    ret

    ftrace_init:
        mov $__stop_mcount_loc, %eax
        sub $__start_mcount_loc, %eax
        cmpb $0, other
        je 1f
        push $other
        mov $__stop_mcount_loc, %ecx
    1:  mov $__start_mcount_loc, %edx
        call first
        ret
    jump_label_init:
        mov $__start___jump_table, %ebx
        movl $1, other
    2:  cmp $__stop___jump_table, %ebx
        jae 1f
        add $12, %ebx
        jmp 2b
    1:  ret

    static_call tracepoint, first
    static_call called, first
    static_call tail_called, first
    static_call inlined, first
    static_call inlined_unknown, first
    static_call sole, alone
    static_call_null null

    alone: ret

    update:
        xor %ecx, %ecx
        mov $__SCT__called, %edx
        push $0
        mov $__SCK__called, %eax
        call __static_call_update
        mov $first, %ecx
        mov $__SCK__tail_called, %ebx
        mov $__SCT__tail_called, %edx
        mov %ebx, %eax
        jmp __static_call_update.constprop.0
    update_inlined:
        call first
        mov $first, %ecx
        mov $__SCT__inlined, %edx
        movl $1, other
        movl $first, __SCK__inlined
        push $0
        xor %eax, %eax
        call arch_static_call_transform
        ret
    update_unknown:
        mov %eax, %ebx
        call first
        mov %ebx, __SCK__inlined_unknown
        mov %ebx, %ecx
        xor %eax, %eax
        mov $__SCT__inlined_unknown, %edx
        push $0
        call arch_static_call_transform
        ret
    update_null:
        mov other, %ecx
        mov $__SCK__null, %eax
        mov $__SCT__null, %edx
        call __static_call_update
        ret
    _etext:
        nop

    .data 1
    __stop_mcount_loc: .long 0
    .data 2
    __stop___jump_table: .long 0
    .data 3
    switch: .long 0, 0
    .long __SCK__tracepoint, __SCT__tracepoint
    other: .long 0

    .section .kallsyms, "a"
    .balign 4
    .fill 16384
"""

Source = Callable[..., KernelImage]


@pytest.fixture
def kernel(tmp_path: Path) -> Source:
    """Links the kernel with lines of its source changed, from the key to the value."""

    def link(changes: dict[str, str] | None = None) -> KernelImage:
        source = KERNEL
        for old, new in (changes or {}).items():
            assert old in source
            source = source.replace(old, new)
        assemble(source, tmp_path / "k.o", "i386")
        run("ld", "-m", "elf_i386", "-Ttext", hex(BASE["i386"]), "-e", "0", "-o", tmp_path / "k", tmp_path / "k.o")
        return open_kernel(tmp_path / "k")

    return link


def is_text(symbol: Symbol) -> bool:
    return symbol.kind in "tT"


def found(image: KernelImage, symbols: list[Symbol] | None = None) -> dict[str, int]:
    text = [*filter(is_text, image.symbols)] if symbols is None else symbols
    return {name: at for at, _, name in find_data_symbols(image.memory, image.base, image.executable, text, Work())}


def wanted(image: KernelImage) -> dict[str, int]:
    return {s.name: s.address for s in image.symbols if s.name in MCOUNT | JUMPS or s.name.startswith("__SCK__")}


def test_all_are_where_the_linker_put_them(kernel: Source) -> None:
    image = kernel()
    assert found(image) == wanted(image)
    assert len(wanted(image)) == 4 + 7


MCOUNT_DOUBTS = {
    "another function is named": {"mov $__stop_mcount_loc, %ecx": "", "mov $__stop_mcount_loc, %eax": ""},
    "no such function": {"ftrace_init:": "ftrace_start:"},
    "no __fentry__": {"__fentry__": "fentry"},
    "a record is no call": {"__stop_mcount_loc: .long 0": ".long first + 1\n__stop_mcount_loc: .long 0"},
    "a record is a call of another": {"__stop_mcount_loc: .long 0": ".long called\n__stop_mcount_loc: .long 0"}
    | {"update_inlined:": "update_inlined: called:"},
    "a record is a call in data": {"__stop_mcount_loc: .long 0": ".long call\n__stop_mcount_loc: .long 0"}
    | {"other: .long 0": "other: .long 0; call: call __fentry__"},
    "not aligned": {"__start_mcount_loc:": ".byte 0\n__start_mcount_loc:"},
    "a record is no address": {"__stop_mcount_loc: .long 0": ".long -1\n__stop_mcount_loc: .long 0"},
    "a part of a record": {"__stop_mcount_loc: .long 0": ".byte 0\n__stop_mcount_loc: .byte 0, 0, 0"},
    "too few records": {".rept 40": ".rept 4"},
    "a second pair": {"push $other": "push $third", "switch:": "second: .rept 50; .long first; .endr; third: switch:"}
    | {"cmpb $0, other": "mov $second, %eax"},
}
JUMP_DOUBTS = {
    "one end is not named": {"cmp $__stop___jump_table, %ebx": ""},
    "no such function": {"jump_label_init:": "jump_label_start:"},
    "no nop": {"0x3e, 0x8d, 0x74, 0x26, 0x00": "0x3e, 0x8d, 0x74, 0x26, 0x01"},
    "a jump elsewhere": {"jmp.d32 2f\n": "jmp.d32 first\n"},
    "a short jump elsewhere": {".byte 0xeb, 2f - . - 1": ".byte 0xeb, 2f - ."},
    "a site outside": {".long 1b - .,": ".long 1b - . + 0x40000000,"},
    "a target in data": {"entry 2f, 3": "entry switch, 3"},
    "a key in text": {", switch + \\flags - .": ", first - . + \\flags"},
    "a key outside": {", switch + \\flags - .": ", switch - . + \\flags - 0x40000000"},
    "a part of a record": {"__stop___jump_table: .long 0": ".long 0\n__stop___jump_table: .long 0"},
}
KEY_DOUBTS = {
    "tracepoint": {
        "no pointer to the key": {"__SCK__tracepoint, __SCT__tracepoint": "0, __SCT__tracepoint"},
        "a pointer to another word": {"__SCK__tracepoint, __SCT__tracepoint": "switch, __SCT__tracepoint"},
        "two words": {
            "__SCK__tracepoint, __SCT__tracepoint": "__SCK__tracepoint, __SCT__tracepoint, 2f, __SCT__tracepoint"
        }
        | {"other:": "2: .long first; other:"},
        "no trampoline": {"__SCT__\\name: jmp.d32 \\initial": "__SCT__\\name: call \\initial"},
        "the key holds something else": {"__SCK__\\name: .long \\initial": "__SCK__\\name: .long \\initial + 1"},
    },
    "called": {
        "the register is lost": {"mov $__SCK__called, %eax": "mov $__SCK__called, %eax; xor %eax, %eax"},
        "the register is xored": {"mov $__SCK__called, %eax": "mov $__SCK__called, %eax; xor %ebx, %eax"},
        "the register is loaded": {"mov $__SCK__called, %eax": "mov $__SCK__called, %eax; mov other, %eax"},
        "the register is changed": {"mov $__SCK__called, %eax": "mov $__SCK__called - 4, %eax; add $4, %eax"},
        "a call between": {"mov $__SCK__called, %eax": "mov $__SCK__called, %eax; call first"},
        "another is called": {"call __static_call_update\n        mov $first": "call first\n        mov $first"},
        "the key of another": {"__SCK__called, %eax": "__SCK__tail_called, %eax"},
    },
    "tail_called": {
        "a return between": {"mov %ebx, %eax": "mov %ebx, %eax; ret"},
        "the wrong register": {"mov %ebx, %eax": "mov %eax, %ebx"},
        "from memory": {"mov %ebx, %eax": "mov (%ebx), %eax"},
    },
    "inlined": {
        "nothing is stored": {"movl $first, __SCK__inlined\n": ""},
        "another function is stored": {"movl $first, __SCK__inlined\n": "movl $alone, __SCK__inlined\n"},
        "stored before a call": {"movl $first, __SCK__inlined\n": "movl $first, __SCK__inlined; call first\n"},
    },
    "inlined_unknown": {
        "another value is stored": {"mov %ebx, %ecx": "mov %esi, %ecx"},
        "a value of another time": {"mov %ebx, %ecx": "xor %ebx, %ebx; mov %ebx, %ecx"},
    },
    "sole": {
        "two words": {"other:": ".long alone; other:"},
        "no word": {"__SCK__\\name: .long \\initial": "__SCK__\\name: .long first"},
    },
    "null": {
        "the key holds something": {".bss\n        __SCK__\\name: .long 0": ".data 4\n        __SCK__\\name: .long 1"},
        "no trampoline": {"ret; int3": "nop; int3"},
        "the key is no word": {"$__SCK__null": "$__SCK__null + 2"},
    },
}


@pytest.mark.parametrize("changes", MCOUNT_DOUBTS.values(), ids=MCOUNT_DOUBTS)
def test_a_doubtful_table_of_calls_is_not_found(kernel: Source, changes: dict[str, str]) -> None:
    image = kernel(changes)
    names = found(image).keys()
    assert not names & MCOUNT
    assert names >= JUMPS


@pytest.mark.parametrize("changes", JUMP_DOUBTS.values(), ids=JUMP_DOUBTS)
def test_a_doubtful_table_of_jumps_is_not_found(kernel: Source, changes: dict[str, str]) -> None:
    image = kernel(changes)
    names = found(image).keys()
    assert not names & JUMPS
    assert names >= MCOUNT


@pytest.mark.parametrize(
    ("name", "changes"),
    [(name, changes) for name, doubts in KEY_DOUBTS.items() for changes in doubts.values()],
    ids=[f"{name}-{doubt}" for name, doubts in KEY_DOUBTS.items() for doubt in doubts],
)
def test_a_doubtful_key_is_not_found(kernel: Source, name: str, changes: dict[str, str]) -> None:
    image = kernel(changes)
    names = found(image)
    assert f"__SCK__{name}" not in names
    assert names.items() <= wanted(image).items()


def test_the_table_of_calls_holds_no_keys(kernel: Source) -> None:
    image = kernel({"alone: ret": "alone: traced; ret"})
    assert found(image) == wanted(image)


def test_kallsyms_is_completed(kernel: Source, tmp_path: Path) -> None:
    symbols = sorted(kernel({"jmp __static_call_update.constprop.0": "jmp __static_call_update"}).symbols)
    (tmp_path / "k.kallsyms").write_bytes(tables([*filter(is_text, symbols)]))
    image = replaced(tmp_path)
    assert image.symbols.source == "kallsyms, found"
    assert wanted(image) == {s.name: s.address for s in symbols if s.name in wanted(image)}
    assert len(wanted(image)) == 4 + 7


def test_kallsyms_with_data_is_left_alone(kernel: Source, tmp_path: Path) -> None:
    symbols = sorted(kernel().symbols)
    (tmp_path / "k.kallsyms").write_bytes(tables([s for s in symbols if is_text(s) or s.name == "switch"]))
    image = replaced(tmp_path)
    assert image.symbols.source == "kallsyms"
    assert not wanted(image)


def tables(symbols: list[Symbol]) -> bytes:
    """The tables of a kallsyms with these symbols, in as many bytes as the kernel has room for."""
    entries = [(s.address - BASE["i386"], s.kind, s.name) for s in sorted(symbols)]
    return bytes(encode(entries, 32, "seqs", "relative")[0][4096 : 4096 + 16384])


def replaced(directory: Path) -> KernelImage:
    """The stripped kernel with the contents of its section .kallsyms replaced."""
    run("objcopy", "--strip-all", "--update-section", f".kallsyms={directory / 'k.kallsyms'}", directory / "k")
    return open_kernel(directory / "k")


@pytest.mark.parametrize("seed", range(10))
def test_damage_is_survived(kernel: Source, seed: int) -> None:
    image, chance = kernel(), random.Random(seed)
    text = [*filter(is_text, image.symbols)]
    for _ in range(40):
        memory = bytearray(image.memory)
        for _ in range(chance.randint(1, 300)):
            memory[chance.randrange(len(memory))] = chance.randrange(256)
        del memory[chance.randrange(1, 2 * len(memory)) :]
        for at, _, _ in find_data_symbols(memory, image.base, image.executable, text, Work()):
            assert image.base <= at <= image.base + len(memory)


def test_no_symbols_no_memory_no_sense() -> None:
    memory = bytearray(b"\xc3" * 64)
    everywhere = [Symbol(at, "t", name) for at in (0, 60, 70, 2**32) for name in ("ftrace_init", "__SCT__x")]
    assert find_data_symbols(memory, 0, [(0, 64)], [], Work()) == []
    assert find_data_symbols(bytearray(), 0, [], everywhere, Work()) == []
    assert find_data_symbols(memory, 0, [(0, 2**40)], everywhere, Work()) == []
    assert find_data_symbols(memory, 2**32 - 8, [(2**32 - 8, 2**32 + 8)], everywhere, Work()) == []


def test_what_cannot_be_searched_whole_is_no_proof() -> None:
    """A word that holds a function may be the only one among the first, but not among all."""
    memory = bytearray(struct.pack("<BiHB", 0xE9, -5, 0, 0) + b"\0\0\0\xc1" + bytes(4))
    trampoline = [Symbol(0xC1000000, "t", "__SCT__x")]
    key = Symbol(0xC1000008, "D", "__SCK__x")
    text = [(0xC1000000, 0xC1000008)]
    assert find_data_symbols(memory, 0xC1000000, text, trampoline, Work()) == [key]
    assert find_data_symbols(memory + b"\1\0\0\xc1" * 60_000, 0xC1000000, text, trampoline, Work()) == []
    assert find_data_symbols(memory + bytes(64 << 20), 0xC1000000, text, trampoline, Work()) == []
    many = [Symbol(0xC2000000 + number, "t", f"__SCT__{number}") for number in range(10_001)]
    assert find_data_symbols(memory, 0xC1000000, text, [*trampoline, *many], Work()) == []


@pytest.fixture(scope="module")
def debian() -> KernelImage:
    """Debian's 6.1 for 686 processors with PAE."""
    try:
        return open_kernel(fetch.kernel_package("i386", "686-pae"))
    except fetch.Unavailable as reason:
        pytest.skip(str(reason))


def test_debian_has_no_trampoline_without_key(debian: KernelImage) -> None:
    assert debian.symbols.source == "kallsyms, found"
    names = {symbol.name for symbol in debian.symbols}
    trampolines = {name.removeprefix("__SCT__") for name in names if name.startswith("__SCT__")}
    assert len(trampolines) > 500
    assert trampolines == {name.removeprefix("__SCK__") for name in names if name.startswith("__SCK__")}


def test_debian_exports_the_same_keys(debian: KernelImage) -> None:
    exported = {name: at for name, at in debian.exports.items() if name.startswith("__SCK__")}
    assert len(exported) > 50
    assert exported == {name: debian.symbols.address(name) for name in exported}


def test_debian_keys_lie_apart(debian: KernelImage) -> None:
    keys = [symbol.address for symbol in debian.symbols if symbol.name.startswith("__SCK__")]
    assert len(keys) == len(set(keys))


def test_debian_calls_fentry_in_all_functions_of_the_table(debian: KernelImage) -> None:
    """Each symbol at whose address __fentry__ is called has a record, and the words around the table are none."""
    start, end, fentry = map(debian.symbols.address, ("__start_mcount_loc", "__stop_mcount_loc", "__fentry__"))
    assert start is not None
    assert end is not None
    assert fentry is not None
    listed = {at for (at,) in struct.iter_unpack("<I", debian.read(start, end - start))}
    called = {
        symbol.address
        for symbol in debian.symbols
        if is_text(symbol)
        and debian.read(symbol.address, 5) == struct.pack("<BI", 0xE8, (fentry - symbol.address - 5) % 2**32)
    }
    assert called <= listed
    around = debian.read(start - 4, 4), debian.read(end, 4)
    assert not {int.from_bytes(word, "little") for word in around} & called
