"""Values as an attacker writes them into the fields of a format: mostly right, so that the reader goes on, or extreme.

A builder of a format passes each of its values through here. How often one is wrong is decided once an input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import TypeVar

LARGEST = 1 << 19
"""Bytes that a generated input may have."""

_RATES = (0.0, 0.01, 0.03, 0.1, 0.1, 0.4)
_EXTREMES = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 4095, 4096, 0x7FFF, 0x8000, 0xFFFF, 1 << 16, (1 << 31) - 1, 1 << 31)
_HUGE = ((1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 70, -1, -2, -8, -60, 10**30)
_DECIMALS = (b"", b" ", b"-1", b"+8", b"0x10", b"1_0", b"\0", b"9" * 40, b"1e9", "\u0661".encode(), b"8\n", b"nan")

_T = TypeVar("_T")


class Hostile:
    """A source of values; the same random numbers give the same ones."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rate = random.choice(_RATES)
        self.bomb = random.random() < 0.15  # whether there may be very many of something

    def happens(self, times: float = 1) -> bool:
        """Whether this is one of the values that are wrong."""
        return self.random.random() < self.rate * times

    def number(self, value: int, bits: int) -> int:
        """A field of that many bits: the value, or another."""
        if not self.happens():
            return value % (1 << bits)
        return self._other(value) % (1 << bits)

    def unbounded(self, value: int) -> int:
        """A number in a text, which may have any size."""
        return self._other(value) if self.happens() else value

    def _other(self, value: int) -> int:
        random = self.random
        near = (
            value + random.choice((-8, -4, -1, 1, 4, 8)),
            value * 2,
            value // 2,
            -value,
            random.getrandbits(random.choice((8, 16, 24, 32, 64))),
        )
        return random.choice((random.choice(_EXTREMES), random.choice(_HUGE), random.choice(near)))

    def decimal(self, value: int, width: int, octal: bool = False) -> bytes:
        """A number as text in a field of so many bytes."""
        random = self.random
        if self.happens(0.5):
            return random.choice(_DECIMALS)[:width].ljust(width)
        text = b"%o" if octal else b"%d"
        return (text % self.unbounded(value))[:width].ljust(width)

    def times(self, usual: int, most: int) -> int:
        """How many there are of something: mostly the usual number, or none, or very many."""
        if self.bomb and self.random.random() < 0.3:
            return int(math.exp(self.random.uniform(0, math.log(most + 1))))
        return self.random.choice((0, 1, usual * 3)) if self.happens() else usual

    def data(self, data: bytes) -> bytes:
        """Contents: as they are, or cut off, doubled, changed, or much of nothing."""
        if not self.happens(2) or not data:
            return data
        random = self.random
        at = random.randrange(len(data))
        changed = bytearray(data)
        changed[at] = random.randrange(256)
        return random.choice(
            (data[:at], data[at:], data * 2, bytes(changed), bytes(random.choice((1, 4096, 1 << 17))), b"")
        )

    def one(self, usual: _T, others: Sequence[_T]) -> _T:
        """The usual one, or one of the others."""
        return self.random.choice(others) if self.happens(2) else usual

    def shuffled(self, parts: Sequence[_T]) -> list[_T]:
        """Parts in order, or one missing, doubled or elsewhere."""
        made = list(parts)
        if made and self.happens(2):
            part = made.pop(self.random.randrange(len(made)))
            for _ in range(self.random.choice((0, 1, 2))):
                made.insert(self.random.randrange(len(made) + 1), part)
        return made
