"""One measured figure and its bound."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, how much at most is wanted, and of what; no `value` where there was nothing to measure."""

    name: str
    value: float | None
    bound: float | None
    unit: str
    note: str = ""

    @property
    def verdict(self) -> str:
        """`ok`, `over`, or why there is neither."""
        if self.value is None:
            return "not available"
        if self.bound is None:
            return "for the record"
        return "ok" if self.value <= self.bound else "over"

    def line(self) -> str:
        """The figure for people."""
        value = "-" if self.value is None else f"{self.value:.2f}"
        bound = "" if self.bound is None else f"<= {self.bound:g}"
        return f"{self.name:<46} {value:>9} {self.unit:<10} {bound:<8} {self.verdict:<14} {self.note}".rstrip()


def median(measure: Callable[[], float], reps: int) -> float:
    """The median of so many runs, after one that warms up."""
    measure()
    return statistics.median(measure() for _ in range(reps))
