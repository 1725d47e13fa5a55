"""The kallsyms decoder against a plain encoder of each layout, and against damaged tables."""

from __future__ import annotations

import itertools
import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvspec.kernel import ImageError
from pvspec.kernel.symbols.kallsyms import decode_kallsyms
from pvspec.kernel.work import Work

BASE = {32: 0xC1000000, 64: 0xFFFFFFFF81000000}
TOKENS = [chr(code) if re.fullmatch("[0-9A-Za-z_]", chr(code)) else f"t{code}_" for code in range(256)]
LAYOUTS = list(itertools.product([32, 64], ["old", "seqs", "new"], ["relative", "per-cpu", "absolute"]))

Entry = tuple[int, str, str]


def encode(entries: list[Entry], bits: int, order: str, addresses: str) -> tuple[bytearray, list[Entry]]:
    """An image that holds the tables of these symbols, whose first field is an offset into the image."""
    base, width = BASE[bits], bits // 8
    word = "<Q" if bits == 64 else "<I"
    placed = [(base + offset, kind, name) for offset, kind, name in entries]
    if addresses == "per-cpu":
        placed = [(0, "A", "fixed_percpu_data"), (64, "A", "this_cpu_off"), *placed]

    names, markers = b"", []
    for number, (_, kind, name) in enumerate(placed):
        if number % 256 == 0:
            markers.append(len(names))
        length = len(kind + name)
        prefix = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        names += prefix + (kind + name).encode()
    if addresses == "absolute":
        numbers = [b"".join(struct.pack(word, address) for address, _, _ in placed)]
    else:
        offsets = [
            address
            if address < base and addresses == "per-cpu"
            else base - 1 - address
            if addresses == "per-cpu"
            else address - base
            for address, _, _ in placed
        ]
        numbers = [b"".join(struct.pack("<i", offset) for offset in offsets), struct.pack(word, base)]
    seqs = [bytes(number & 255 for _ in range(3)) for number in range(len(placed))]
    table = [struct.pack("<I", len(placed)), names, b"".join(struct.pack("<I", marker) for marker in markers)]
    starts = itertools.accumulate((len(token) + 1 for token in TOKENS[:-1]), initial=0)
    tokens = [
        "".join(token + "\0" for token in TOKENS).encode(),
        b"".join(struct.pack("<H", at) for at in starts),
    ]
    parts = {
        "old": [*numbers, *table, *tokens],
        "seqs": [*numbers, *table, b"".join(seqs), *tokens],
        "new": [*table, *tokens, *numbers, b"".join(seqs)],
    }[order]
    image = bytearray(4096) + b"".join(part + bytes(-len(part) % width) for part in parts)
    return image + bytes(4096 + (1 << 17)), placed


def symbols(most: int) -> st.SearchStrategy[list[Entry]]:
    name = st.text("abcdefxyz_0123456789ABC", min_size=1, max_size=300)
    entry = st.tuples(st.integers(0, 1 << 17), st.sampled_from("tTdDbBrRwW"), name)
    return st.lists(entry, min_size=1, max_size=most).map(lambda entries: [(0, "T", "_text"), *sorted(entries)])


@pytest.mark.parametrize(("bits", "order", "addresses"), LAYOUTS)
@given(entries=symbols(40))
@settings(max_examples=15)
def test_every_layout(entries: list[Entry], bits: int, order: str, addresses: str) -> None:
    image, placed = encode(entries, bits, order, addresses)
    assert decode_kallsyms(image, BASE[bits], bits, Work()) == placed


@pytest.mark.parametrize(("bits", "order", "addresses"), LAYOUTS)
@pytest.mark.parametrize("count", [255, 256, 257, 1000])
def test_markers(bits: int, order: str, addresses: str, count: int) -> None:
    entries = [(number * 16, "t", f"function_{number}") for number in range(count)]
    image, placed = encode(entries, bits, order, addresses)
    assert decode_kallsyms(image, BASE[bits], bits, Work()) == placed


@pytest.mark.parametrize("length", [126, 127, 128, 255, 256, 300, 511])
def test_long_names(length: int) -> None:
    entries = [(0, "T", "_text"), (16, "t", "x" * length), *((32 + at, "t", f"y{at}") for at in range(16))]
    image, placed = encode(entries, 64, "new", "relative")
    assert decode_kallsyms(image, BASE[64], 64, Work()) == placed


def test_tokens_are_expanded() -> None:
    image, _ = encode([(0, "T", "_text"), (16, "t", "aa")], 64, "new", "relative")
    at = image.index(b"\x03taa")
    image[at : at + 4] = b"\x03t\x01\xff"
    assert decode_kallsyms(image, BASE[64], 64, Work())[1].name == "t1_t255_"


def test_no_table_is_no_error() -> None:
    assert decode_kallsyms(bytearray(1 << 16), BASE[64], 64, Work()) == []
    assert decode_kallsyms(bytearray(b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"), BASE[64], 64, Work()) == []


@pytest.mark.parametrize("order", ["old", "seqs", "new"])
@given(data=st.data())
@settings(max_examples=60)
def test_damage_is_an_error_or_harmless(order: str, data: st.DataObject) -> None:
    image, placed = encode([(number * 16, "t", f"f{number}") for number in range(300)], 32, order, "relative")
    for at in data.draw(st.lists(st.integers(4096, len(image) - 4096 - (1 << 17)), min_size=1, max_size=8)):
        image[at] = data.draw(st.integers(0, 255))
    assert outcome(image) in ("kallsyms", 0, len(placed))


@pytest.mark.parametrize("cut", [5000, 6000, 8000])
def test_truncated_tables(cut: int) -> None:
    image, _ = encode([(number * 16, "t", f"f{number}") for number in range(300)], 32, "new", "relative")
    assert outcome(image[:cut]) in ("kallsyms", 0)


def outcome(image: bytearray) -> int | str:
    """How many symbols, or how the error begins."""
    try:
        return len(decode_kallsyms(image, BASE[32], 32, Work()))
    except ImageError as error:
        return str(error).partition(":")[0]


def test_a_line_end_in_a_name() -> None:
    image, _ = encode([(0, "T", "_text"), (16, "t", "aa")], 64, "new", "relative")
    image[image.index(b"t1_\0")] = ord("\n")
    at = image.index(b"\x03taa")
    image[at : at + 4] = b"\x03t\x01a"
    with pytest.raises(ImageError, match="a symbol name contains a newline"):
        decode_kallsyms(image, BASE[64], 64, Work())
