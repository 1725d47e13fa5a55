"""Inputs tried in a forked process, which their faults cannot leave: limits on the time and memory of each one.

The parent has imported and warmed everything, so a child costs about two milliseconds; it tries one input after the
other, says of each what came of it, and is abandoned when an input kills it, takes too long or leaves much memory.
"""

from __future__ import annotations

import marshal
import os
import re
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn, cast

from tests.fuzz import coverage

MEMORY = (1 << 30) - (64 << 20)
"""Bytes of memory that an input may take: 1 GiB less what the interpreter and its modules have in any case."""

ADDRESSES = 2 << 30
"""Bytes of addresses besides those of the parent: an emulator reserves 1 GiB that it does not use."""

SLACK = 128 << 20
"""Bytes after which a child is left for a new one, so that the memory of one input is not counted against others."""

PATIENCE = 25
"""Seconds in a row in which a child sleeps, after which it waits for something that does not come, and is killed."""

_HARD = 1  # seconds of processor time beyond the limit, after which a child is killed that does not even raise
_PACKAGE = str(Path(__file__).parents[2] / "pvspec")
_EXHAUSTED = (MemoryError, RecursionError)
_LENGTH = 4  # bytes before each piece of news


class Outcome(NamedTuple):
    """What was wrong with an input, empty if nothing; what the target said; which marks it reached that were new, as
    bits; seconds of processor time; bytes of memory."""

    crash: str
    said: str
    blocks: int
    seconds: float
    memory: int


class Hang(BaseException):
    """An input took too long; no `except Exception` on the way may swallow that."""


def outcomes(run: Callable[[bytes], str], inputs: Sequence[bytes], seconds: float, reached: int) -> list[Outcome]:
    """What came of each input. One that ends its child is tried once more, alone: if it then lives, others did it."""
    done: list[Outcome] = []
    while len(done) < len(inputs):
        found, end = _batch(run, inputs[len(done) :], seconds, reached)
        done += found
        if end and len(done) < len(inputs):
            alone, again = _batch(run, inputs[len(done) : len(done) + 1], seconds, reached)
            done += alone or [Outcome(again, "", 0, seconds, 0)]
        for outcome in found:
            reached |= outcome.blocks
    return done


def expected(error: BaseException) -> str:
    """What an error says that a reader may raise; not if it stands for memory or stack that ran out on the way."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, _EXHAUSTED):
            raise AssertionError(f"{type(chain).__name__} passed off as: {error}") from error
        chain = chain.__cause__ or chain.__context__
    return str(error)


def attempt(run: Callable[[bytes], str], data: bytes, seconds: float) -> tuple[str, str]:
    """What was wrong with an input, empty if nothing; and what the target says."""
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            return "", run(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (Exception, Hang) as error:
        return crash_of(error), ""


def crash_of(error: BaseException) -> str:
    """The kind of a crash, and the innermost place of ours."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    ours = [frame for frame in frames if _PACKAGE in frame.filename or frame.filename.startswith("<pvspec.")] or frames
    if not ours:
        return type(error).__name__
    name = ours[-1].filename.removeprefix(f"{Path(__file__).parents[2]}/")
    return f"{type(error).__name__} at {name}:{ours[-1].name}"


def _batch(
    run: Callable[[bytes], str], inputs: Sequence[bytes], seconds: float, reached: int
) -> tuple[list[Outcome], str]:
    """The outcomes of the inputs that a child came to; and what ended it at the next one, empty if nothing did."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _be_the_child(run, inputs, seconds, reached, writing)
    os.close(writing)
    news, silent = bytearray(), False
    try:
        while (piece := _news(reading, child)) != b"":
            if piece is None:
                silent = True
                break
            news += piece
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    found = [Outcome(*cast("tuple[str, str, int, float, int]", marshal.loads(piece))) for piece in _pieces(news)]
    if silent:
        return found, "the process waits for something"
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return found, f"the process died: {signal.Signals(os.WTERMSIG(status)).name}"
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return found, ""
    return found, f"the process died: status {status}"


def _news(reading: int, child: int) -> bytes | None:
    """What the child says next: nothing at its end, None if it sleeps."""
    asleep = 0
    while asleep < PATIENCE:
        ready, _, _ = select.select([reading], [], [], 1.0)
        if ready:
            return os.read(reading, 1 << 20)
        asleep = asleep + 1 if _state(child) == "S" else 0
    return None


def _state(process: int) -> str:
    """The letter that ps(1) prints."""
    return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def _pieces(news: bytes | bytearray) -> Iterator[bytes]:
    at = 0
    while at + _LENGTH <= len(news):
        size = int.from_bytes(news[at : at + _LENGTH], "little")
        if at + _LENGTH + size > len(news):
            return
        yield bytes(news[at + _LENGTH : at + _LENGTH + size])
        at += _LENGTH + size


def _be_the_child(
    run: Callable[[bytes], str], inputs: Sequence[bytes], seconds: float, reached: int, writing: int
) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGPROF, _stop)
        resource.setrlimit(resource.RLIMIT_AS, (_addresses() + ADDRESSES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        start = _resident()
        for data in inputs:
            outcome = _tried(run, data, seconds, reached)
            news = marshal.dumps(tuple(outcome))
            _write(writing, len(news).to_bytes(_LENGTH, "little") + news)
            reached |= outcome.blocks
            if outcome.crash or _resident() - start > SLACK:
                break
        status = 0
    finally:
        os._exit(status)


def _tried(run: Callable[[bytes], str], data: bytes, seconds: float, reached: int) -> Outcome:
    begun = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(begun + seconds) + 1 + _HARD, hard))
    before = _resident()
    coverage.SEEN[:] = bytes(len(coverage.SEEN))
    crash, said = attempt(run, data, seconds)
    blocks = int.from_bytes(coverage.SEEN, "little") & ~reached
    peak = _resident()
    memory = 0 if peak == before else peak - before
    if not crash and memory > MEMORY:
        crash = "more than 1 GiB of memory"
    return Outcome(crash, said, blocks, time.process_time() - begun, memory)


def _stop(*_: object) -> None:
    raise Hang


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _resident() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _addresses() -> int:
    """Bytes of addresses that this process has."""
    found = re.search(r"^VmSize:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.M)
    assert found
    return int(found[1]) << 10
