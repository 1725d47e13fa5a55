"""Two texts of one kernel, side by side, by the tables whose sites differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pvspec.prediction.predict import Prediction

PAGE = 4096


class Difference(NamedTuple):
    """A site at which two texts differ, by the last pass that has one there; family None: no table knows the place."""

    family: str | None
    address: int
    first: bytes
    second: bytes


def differing(first: bytes | memoryview, second: bytes | memoryview) -> Iterator[int]:
    """The offsets at which two texts of one length differ; pages that are equal cost little."""
    for page in range(0, len(first), PAGE):
        one, other = bytes(first[page : page + PAGE]), bytes(second[page : page + PAGE])
        if one != other:
            yield from (page + at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)


def difference(prediction: Prediction, first: bytes | memoryview, second: bytes | memoryview) -> list[Difference]:
    """Where two texts from `prediction.start` on differ, each site once, by address."""
    owner: dict[int, tuple[str, int, int]] = {}
    for site in prediction.inside():
        place = site.family, site.address, site.length
        owner.update(dict.fromkeys(range(site.address, site.address + site.length), place))
    found: dict[tuple[str | None, int, int], None] = {}
    for offset in differing(first, second):
        address = prediction.start + offset
        found.setdefault(owner.get(address, (None, address, 1)))
    differences = []
    for family, address, length in sorted(found, key=lambda place: place[1]):
        part = slice(address - prediction.start, address - prediction.start + length)
        differences.append(Difference(family, address, bytes(first[part]), bytes(second[part])))
    return differences
