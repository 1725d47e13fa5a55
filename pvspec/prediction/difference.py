"""Two texts of one kernel, side by side, by the tables whose sites differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pvspec.prediction.passes import Prediction

PAGE = 4096


class Difference(NamedTuple):
    """A site at which two texts differ, by the last pass that has one there; table None: no table knows the bytes."""

    table: str | None
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
    """Where two texts from `prediction.start` on differ, by address: sites, and runs of bytes that are in none."""
    claimed = bytearray(len(first))
    differences = [*_of_sites(prediction, bytes(first), bytes(second), claimed)]
    rest = (offset for offset in differing(first, second) if not claimed[offset])
    for start, end in _runs(rest):
        differences.append(
            Difference(None, prediction.start + start, bytes(first[start:end]), bytes(second[start:end]))
        )
    return sorted(differences, key=lambda item: item.address)


def _of_sites(prediction: Prediction, first: bytes, second: bytes, claimed: bytearray) -> Iterator[Difference]:
    """The sites that differ in a byte that no later pass has a site over; their bytes are marked as claimed."""
    for site in reversed([*prediction.inside()]):
        part = slice(site.address - prediction.start, site.address - prediction.start + site.length)
        one, other = first[part], second[part]
        if one != other and any(a != b and not c for a, b, c in zip(one, other, claimed[part], strict=True)):
            claimed[part] = b"\1" * len(one)
            yield Difference(site.table, site.address, one, other)


def _runs(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending offsets as ranges [start, end)."""
    start = end = -1
    for offset in offsets:
        if offset != end:
            if start != end:
                yield start, end
            start = offset
        end = offset + 1
    if start != end:
        yield start, end
