"""One target, many inputs: built upon are those that reach a block, or are told something, as none was before."""

from __future__ import annotations

import re
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import coverage
from tests.fuzz.mutate import mutated

HANG = 5.0  # seconds of processor time that one input may take
DEAD = 120  # seconds until a process that does not even listen is ended

_PACKAGE = str(Path(__file__).parents[2] / "pvspec")
_HEARD = 2000  # different sayings
_OWN = re.compile(r"`[^`]*`|'[^']*'|\b(0x)?[0-9a-f]*\d[0-9a-f]*\b|\S*/\S*")  # an input's own words in a saying


@dataclass(frozen=True)
class Target:
    """What is attacked: `run` raises if what must hold does not, and nothing else; it says what came out, in words."""

    name: str
    text: bool
    seeds: Callable[[], Iterable[bytes]]
    words: Sequence[bytes]
    run: Callable[[bytes], str]


@dataclass
class Result:
    """What came of it; crashes by kind and place, each with its shortest input in hexadecimal."""

    inputs: int = 0
    seconds: float = 0.0
    blocks: int = 0
    corpus: int = 0
    crashes: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Hang(BaseException):
    """An input took too long; no `except Exception` on the way may swallow that."""


def fuzz(
    target: Target, inputs: int, seed: str, found: Iterable[bytes], told: Callable[[bytes], None]
) -> tuple[Result, list[bytes]]:
    """The result, and what was kept. `found` was kept by earlier runs; `told` hears each input before it is tried."""
    random, result = Random(seed), Result()
    corpus = [*target.seeds(), *found]
    seeds, kept, reached, heard = tuple(corpus), list[bytes](), 0, set[str]()
    signal.signal(signal.SIGPROF, _stop)
    start = time.process_time()
    for number in range(inputs):
        data = seeds[number] if number < len(seeds) else _next(random, corpus, target)
        told(data)
        coverage.SEEN[:] = bytes(len(coverage.SEEN))
        crash, said = attempt(target, data)
        if crash and len(data.hex()) < len(result.crashes.get(crash, "x" * (1 << 20))):
            result.crashes[crash] = data.hex()
        now, said = int.from_bytes(coverage.SEEN, "little"), _OWN.sub("", said)
        if now | reached != reached or (said not in heard and len(heard) < _HEARD):
            reached |= now
            heard.add(said)
            corpus.append(data)
            kept.append(data)
    result.inputs, result.seconds = inputs, time.process_time() - start
    result.blocks, result.corpus = reached.bit_count(), len(kept)
    return result, kept


def _next(random: Random, corpus: Sequence[bytes], target: Target) -> bytes:
    recent = corpus[-20:] if random.random() < 0.3 else corpus
    return mutated(random, random.choice(recent), corpus, target.words, target.text)


def attempt(target: Target, data: bytes) -> tuple[str, str]:
    """What was wrong with an input, empty if nothing; and what the target says."""
    try:
        signal.setitimer(signal.ITIMER_PROF, HANG)
        signal.alarm(DEAD)
        try:
            return "", target.run(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
    except (Exception, Hang) as error:
        return _crash(error), ""


def _stop(*_: object) -> None:
    raise Hang


def _crash(error: BaseException) -> str:
    """The kind of a crash, and the innermost place of ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    ours = [frame for frame in frames if _PACKAGE in frame.filename or frame.filename.startswith("<pvspec.")] or frames
    name = ours[-1].filename.removeprefix(f"{Path(__file__).parents[2]}/")
    return f"{type(error).__name__} at {name}:{ours[-1].name}"
