"""Inputs made of inputs: by bytes and numbers, and by the words of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

Way = Callable[[Random, bytearray, Sequence[bytes], Sequence[bytes]], None]

_ROUNDS = (1, 1, 1, 2, 2, 3, 5, 9)
_VALUES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 254, 255, 256, 4095, 4096, 65535, 1 << 31, -1, -2, -8)
_WORD = re.compile(rb'\w+|"[^"\n]*"|\s+|[^\w\s]')
_LONGEST = 1 << 16  # bytes; the limits beyond are cases of their own


def mutated(random: Random, data: bytes, corpus: Sequence[bytes], words: Sequence[bytes], text: bool) -> bytes:
    """Another input, from one and what else there is: other inputs, and words that matter."""
    ways = TEXT if text else BINARY
    changed = bytearray(data)
    for _ in range(random.choice(_ROUNDS)):
        random.choice(ways)(random, changed, corpus, words)
    return bytes(changed[:_LONGEST])


def _place(random: Random, data: bytearray) -> int:
    """Somewhere; rather at something than in a desert of zeros."""
    for _ in range(4):
        at = random.randrange(len(data) + 1)
        if any(data[at : at + 4]):
            break
    return at


def _flip(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        data[min(_place(random, data), len(data) - 1)] ^= 1 << random.randrange(8)


def _byte(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _place(random, data)
    data[at : at + 1] = random.randbytes(1)


def _number(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    size = random.choice((1, 2, 4, 8))
    at = _place(random, data) // size * size
    old = int.from_bytes(data[at : at + size], "little")
    value = random.choice((random.choice(_VALUES), old + random.choice(_VALUES), old - random.randrange(64), len(data)))
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _delete(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _place(random, data)
    del data[at : at + random.choice((1, 2, 4, 8, 16, 64, len(data)))]


def _repeat(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at, to = _place(random, data), _place(random, data)
    data[to:to] = data[at : at + random.choice((1, 4, 8, 12, 16, 40, 64))] * random.choice((1, 1, 2, 40))


def _copy_over(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    """The part of another input that lies there, or elsewhere."""
    other, at, size = random.choice(corpus), _place(random, data), random.choice((4, 8, 16, 64, 256))
    start = random.choice((at, random.randrange(len(other) + 1)))
    data[at : at + size] = other[start : start + size]


def _word(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _place(random, data)
    word = random.choice(words)
    data[at : at + random.choice((0, len(word)))] = word


def _tokens(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    """One word of a text dropped, doubled, replaced or swapped."""
    found = list(_WORD.finditer(data))
    if not found:
        data += random.choice(words)
        return
    one, other = random.choice(found).span(), random.choice(found)
    there = _WORD.findall(random.choice(corpus)) or [b""]
    old = bytes(data[slice(*one)])
    data[slice(*one)] = random.choice(
        (b"", old + b" " + old, random.choice(words), other[0], random.choice(there), old + b" " + random.choice(words))
    )


def _lines(random: Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    """A line of this text or another, put in, or over one."""
    lines = data.splitlines(keepends=True) or [bytearray()]
    others = random.choice(corpus).splitlines(keepends=True) or [b""]
    at, start = random.randrange(len(lines)), random.randrange(len(others))
    kept = random.choice((0, 1, 1, 2))
    lines[at : at + kept] = map(bytearray, others[start : start + random.choice((0, 1, 1, 2, 5))])
    data[:] = b"".join(lines)


BINARY: tuple[Way, ...] = (_flip, _byte, _number, _number, _delete, _repeat, _copy_over, _word)
TEXT: tuple[Way, ...] = (_tokens, _tokens, _tokens, _tokens, _lines, _lines, _byte, _delete, _repeat, _word)
