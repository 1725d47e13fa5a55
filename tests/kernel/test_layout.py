"""Ranges of addresses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pvspec.kernel.files.layout import coalesce

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)).map(lambda pair: (pair[0], sum(pair))))


@given(RANGES)
def test_coalesce(ranges: list[tuple[int, int]]) -> None:
    """The same addresses, ascending, with a gap between any two ranges."""
    merged = coalesce(ranges)
    assert {at for start, end in merged for at in range(start, end)} == {
        at for start, end in ranges for at in range(start, end)
    }
    ends = [bound for pair in merged for bound in pair]
    assert ends == sorted(set(ends))
