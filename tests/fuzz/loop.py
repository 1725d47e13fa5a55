"""One target, many inputs: built upon are those that reach a block, or are told something, as none was before."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from tests.fuzz import coverage
from tests.fuzz.cell import Outcome, attempt, outcomes
from tests.fuzz.hostile import LARGEST, Hostile
from tests.fuzz.mutate import mutated

BATCH = 64  # inputs a child
KEPT = 1 << 16  # bytes of an input that is built upon; larger ones make the next ones slow
ROOM = 32 << 20  # bytes of all of them in a portion; each child has them, too

PROMISED = 10.0
"""Seconds of processor time that one input may take: what README promises, though here everything runs with marks."""

_HEARD = 2000  # different sayings
_SEEDS = 0.25  # of the inputs, until all seeds were tried
_MADE = 0.4  # of the inputs of a target that can make them
_CUTS = 300  # tries to make an input shorter
_OWN = re.compile(r"`[^`]*`|'[^']*'|\b(0x)?[0-9a-f]*\d[0-9a-f]*\b|\S*/\S*")  # an input's own words in a saying


@dataclass(frozen=True)
class Target:
    """What is attacked: `run` raises if what must hold does not, and nothing else; it says what came out, in words.

    `made` builds a structure whose fields a `Hostile` fills. `seconds` of processor time are what one input may take.
    """

    name: str
    text: bool
    seeds: Callable[[], Iterable[bytes]]
    words: Sequence[bytes]
    run: Callable[[bytes], str]
    made: Callable[[Hostile], bytes] | None = None
    seconds: float = PROMISED


@dataclass
class Result:
    """What came of it; crashes by kind and place, each with its shortest input; the costliest input of all."""

    inputs: int = 0
    seconds: float = 0.0
    blocks: int = 0
    kept: int = 0
    slowest: float = 0.0
    largest: int = 0
    crashes: dict[str, bytes] = field(default_factory=dict)
    slow: bytes = b""
    large: bytes = b""

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if not isinstance(value, bytes) and key != "crashes"}


def fuzz(
    target: Target, inputs: int, seed: str, found: Iterable[bytes] = (), reached: int = 0, until: float = float("inf")
) -> tuple[Result, list[bytes], int]:
    """The result, what was kept, and the blocks reached. `found` and `reached` are those of earlier runs.

    Ends early at the time `until`.
    """
    random, result, heard, kept = Random(seed), Result(), set[str](), list[bytes]()
    start = time.process_time() + _children()
    reached |= _warmed(target)
    corpus = [*target.seeds(), *found]
    first, room = list(corpus), ROOM
    while result.inputs < inputs and time.time() < until:
        size = min(BATCH, inputs - result.inputs)
        seeds = [first.pop() for _ in range(size) if first and random.random() < _SEEDS]
        batch = seeds + [_next(random, corpus, target) for _ in range(size - len(seeds))]
        for data, outcome in zip(batch, outcomes(target.run, batch, target.seconds, reached), strict=True):
            _count(result, data, outcome)
            said = _OWN.sub("", outcome.said)
            if outcome.blocks & ~reached or (said not in heard and len(heard) < _HEARD):
                reached |= outcome.blocks
                heard.add(said)
                if len(data) <= min(KEPT, room):
                    room -= len(data)
                    corpus.append(data)
                    kept.append(data)
    result.crashes = {crash: shortened(target, crash, data) for crash, data in sorted(result.crashes.items())}
    result.seconds = time.process_time() + _children() - start
    result.blocks, result.kept = reached.bit_count(), len(kept)
    return result, kept, reached


def _children() -> float:
    """Seconds of processor time of the children that ended."""
    times = os.times()
    return times.children_user + times.children_system


def _warmed(target: Target) -> int:
    """The blocks that the seeds reach, in this process: what they import and compute once, children find done."""
    coverage.SEEN[:] = bytes(len(coverage.SEEN))
    for data in target.seeds():
        attempt(target.run, data, 60)
    return int.from_bytes(coverage.SEEN, "little")


def _count(result: Result, data: bytes, outcome: Outcome) -> None:
    result.inputs += 1
    if outcome.crash and len(data) < len(result.crashes.get(outcome.crash, bytes(LARGEST + 1))):
        result.crashes[outcome.crash] = data
    if outcome.seconds > result.slowest:
        result.slowest, result.slow = outcome.seconds, data
    if outcome.memory > result.largest:
        result.largest, result.large = outcome.memory, data


def _next(random: Random, corpus: Sequence[bytes], target: Target) -> bytes:
    if target.made and random.random() < _MADE:
        data = target.made(Hostile(random))[:LARGEST]
        return data if random.random() < 0.8 else mutated(random, data, corpus, target.words, target.text)
    recent = corpus[-20:] if random.random() < 0.3 else corpus
    return mutated(random, random.choice(recent), corpus, target.words, target.text)


def shortened(target: Target, crash: str, data: bytes) -> bytes:
    """A shorter input that crashes alike, as far as a few hundred tries lead."""
    slow = any(word in crash for word in ("Hang", "died", "waits"))
    tries, step = 6 if slow else _CUTS, max(len(data) // 2, 1)
    while tries > 0:
        for at in range(0, len(data), step):
            tries -= 1
            shorter = data[:at] + data[at + step :]
            if outcomes(target.run, [shorter], target.seconds, 0)[0].crash == crash:
                data = shorter
                break
            if tries <= 0:
                break
        else:
            if step == 1:
                break
            step //= 2
    return data
