"""Sites that come in order are told at a glance; others are sorted first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.engine.text import Extents

SITES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=6)


@given(SITES)
def test_ascending_ones_are_apart(sites: list[tuple[int, int]]) -> None:
    places = [place for start, size in sites for place in range(start, start + size)]
    apart = places == sorted(set(places))
    starts = [start for start, _ in sites]
    assert Extents(sites).ascend() == (apart and starts == sorted(set(starts)) and all(size for _, size in sites))


@pytest.mark.parametrize("sites", [[(4, 0), (4, 0)], [(4, 2), (5, 1)], [(8, 1), (4, 1)]])
def test_those_that_must_be_looked_at(sites: list[tuple[int, int]]) -> None:
    assert not Extents(sites).ascend()
