"""A disagreement on a small machine that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

from .bench import Bench
from .described import Known
from .judge import ASKED, WRONG, Verdict, judge
from .trial import PLAIN, Trial, of_fields

_LISTS = ("words", "late", "hidden", "flags")
_FIELDS = (
    "threads",
    "cores",
    "microcode",
    "stepping",
    "base",
    "capabilities",
    "guest",
    "model",
    "family",
    "vendor",
    "kind",
)
_Change = Callable[[Trial], Trial]


def shrunk(bench: Bench, trial: Trial, known: Known, verdict: Verdict) -> tuple[Trial, Verdict]:
    """A machine with less on which the prediction errs in the same way, and how it does."""
    for change in _changes(trial):
        smaller = change(trial)
        if smaller == trial:
            continue
        seen = bench.observe(smaller)
        if not seen.died and _same(verdict, found := judge(bench, smaller, seen, known)):
            trial, verdict = smaller, found
    return trial, verdict


def _same(one: Verdict, other: Verdict) -> bool:
    """Whether two predictions err alike: in one feature at least, if in any."""
    if other.outcome != one.outcome or one.outcome not in (WRONG, ASKED):
        return False
    return bool(set(one.features) & set(other.features)) if one.features else not other.features


def _changes(trial: Trial) -> Iterator[_Change]:
    """What may be left out, the boldest first; each is tried once, on what the changes before it left."""
    for name in _LISTS:
        yield partial(_with, name=name, value=())
    for name in _FIELDS:
        yield partial(_with, name=name, value=getattr(PLAIN, name))
    for name in _LISTS:
        items: Sequence[str] = getattr(trial, name)
        if len(items) > 1:
            yield from (partial(_without, name=name, item=item) for item in items)
    bits = trial.capabilities or 0
    yield from (partial(_without_bit, bit=1 << at) for at in range(bits.bit_length()) if bits >> at & 1)


def _with(trial: Trial, name: str, value: object) -> Trial:
    return of_fields({**asdict(trial), name: value})


def _without(trial: Trial, name: str, item: str) -> Trial:
    items: tuple[str, ...] = getattr(trial, name)
    at = items.index(item) if item in items else len(items)
    return _with(trial, name, (*items[:at], *items[at + 1 :]))


def _without_bit(trial: Trial, bit: int) -> Trial:
    return trial if trial.capabilities is None else _with(trial, "capabilities", trial.capabilities & ~bit)
