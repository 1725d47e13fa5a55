"""The states from which code is run: all combinations of extreme inputs, and many random ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Sequence

from pvspec.proof.shadows import ShadowFlag
from pvspec.x86.emulator.function import CARRY, GENERAL, INTERRUPT, State

RANDOM = 256
MAX_CORNERS = 1024
"""Combinations of special values from which `prove` runs one emitter; of more, as many are taken by chance."""
TASK_SWITCHED = 0x8  # of cr0
FREE_CONTROL = {
    "cr0": TASK_SWITCHED,
    "cr2": ~0xFFF,
    "cr3": 0x7FFFF000,
}  # bits that states may vary without disturbing the CPU
_WORDS = (0, 1, INTERRUPT)


def states(
    inputs: Collection[str], bits: int, shadow: ShadowFlag | None, control: dict[str, int], count: int = RANDOM
) -> Iterator[State]:
    """The states for code with these inputs, the same in every run; `shadow`: where the interrupt flag is kept.

    `count` of them are random. `control`: the control registers that the code names, and their normal values.
    """
    chance = random.Random(bits)
    for seed, (values, flags, shadow_value, switched) in enumerate(_corners(inputs, bits, shadow, control, chance)):
        registers = _anything(bits, chance) | values
        yield State(registers, flags, _vary(control, chance, switched), _memory(shadow, shadow_value, chance), seed)
    for seed in range(1 << 20, (1 << 20) + count):
        flags = chance.getrandbits(12) & (CARRY | INTERRUPT)
        shadow_value = chance.choice(_shadow_values(shadow, chance))
        yield State(
            _anything(bits, chance), flags, _vary(control, chance, None), _memory(shadow, shadow_value, chance), seed
        )


def _corners(
    names: Collection[str], bits: int, shadow: ShadowFlag | None, control: dict[str, int], chance: random.Random
) -> Sequence[tuple[dict[str, int], int, int | None, bool | None]]:
    inputs = sorted(set(names) & set(GENERAL[bits]))
    top = 1 << (bits - 1)
    corners = (*_WORDS, top - 1, top, 2 * top - 1)
    flags = (0, INTERRUPT, CARRY, CARRY | INTERRUPT)
    switched = (False, True) if "cr0" in control else (None,)
    combined = [
        (dict(zip(inputs, values, strict=True)), flag, shadow_value, bit)
        for values in itertools.product(corners, repeat=len(inputs))
        for flag in flags
        for shadow_value in _shadow_values(shadow, chance)
        for bit in switched
    ]
    return combined if len(combined) <= MAX_CORNERS else chance.sample(combined, MAX_CORNERS)


def _anything(bits: int, chance: random.Random) -> dict[str, int]:
    return {name: chance.getrandbits(bits) for name in GENERAL[bits]}


def _vary(control: dict[str, int], chance: random.Random, switched: bool | None) -> dict[str, int]:
    varied = {}
    for name, value in control.items():
        mask = FREE_CONTROL.get(name, 0)
        new = (value & ~mask) | (chance.getrandbits(32) & mask)
        if name == "cr0" and switched is not None:
            new = (value & ~TASK_SWITCHED) | (TASK_SWITCHED if switched else 0)
        varied[name] = new & 0xFFFFFFFF
    return varied


def _shadow_values(shadow: ShadowFlag | None, chance: random.Random) -> Sequence[int | None]:
    if shadow is None:
        return (None,)
    top = (1 << 8 * shadow.size) - 1
    return sorted({0, 1, top, shadow.number & top, ~shadow.number & top, chance.getrandbits(8 * shadow.size)})


def _memory(shadow: ShadowFlag | None, value: int | None, chance: random.Random) -> dict[int, bytes]:
    """The shadow's bytes, between neighbours that are 0 or 1 or something else."""
    if shadow is None or value is None:
        return {}
    before, after = (bytes([chance.choice((0, 1, chance.getrandbits(8)))]) for _ in range(2))
    return {shadow.address - 1: before + value.to_bytes(shadow.size, "little") + after}
