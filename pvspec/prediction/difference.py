"""Two texts of one kernel, side by side, by the tables whose sites differ."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pvspec.kernel import ImageError
from pvspec.prediction.machine import PredictionError
from pvspec.prediction.passes import Prediction, Site

_PAGE = 4096
_SITE_WORK = 14  # units, for a site that differs
_DIFFERENT = re.compile(rb"[^\0]+")
_MAX_RUNS = 250_000
"""Runs of bytes in which two texts differ outside all sites; if there are more, they are not compared: they are not two
texts of one kernel."""


class Difference(NamedTuple):
    """A site at which two texts differ, by the last pass that has one there; table None: no table knows the bytes.

    `legal`: both have the code that is predicted, or one of the site's other forms.
    """

    table: str | None
    address: int
    first: bytes
    second: bytes
    legal: bool = False


def masks(first: bytes | bytearray | memoryview, second: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """The pages of two texts of one length that differ: where each begins, and its bytes: 0 where both are the same."""
    for page in range(0, len(first), _PAGE):
        one, other = first[page : page + _PAGE], second[page : page + _PAGE]
        if one != other:
            mask = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
            yield page, mask.to_bytes(len(one), "little")


def difference(prediction: Prediction, first: bytes | memoryview, second: bytes | memoryview) -> list[Difference]:
    """Where two texts from `prediction.start` on differ, by address: sites, and runs of bytes that are in none.

    PredictionError: those runs are too many, or the sites, after all that the prediction asked for.
    """
    one, other, claimed = bytes(first), bytes(second), bytearray(len(first))
    try:
        differences = [*_of_sites(prediction, one, other, claimed)]
    except ImageError as error:
        raise PredictionError(f"{prediction.bound.image.name}: {error}") from None
    for number, (start, end) in enumerate(_runs(one, other, claimed)):
        if number == _MAX_RUNS:
            raise PredictionError(f"they differ in more than {_MAX_RUNS} places where no table has a site")
        differences.append(Difference(None, prediction.start + start, one[start:end], other[start:end]))
    return sorted(differences, key=lambda item: item.address)


def _of_sites(prediction: Prediction, first: bytes, second: bytes, claimed: bytearray) -> Iterator[Difference]:
    """The sites that differ in a byte that no later pass has a site over; their bytes are marked as claimed.

    ImageError: they are too many.
    """
    work = prediction.work.continued()
    for site in reversed([*prediction.inside()]):
        part = slice(site.address - prediction.start, site.address - prediction.start + site.length)
        one, other = first[part], second[part]
        if one != other and any(a != b and not c for a, b, c in zip(one, other, claimed[part], strict=True)):
            work.add(_SITE_WORK, "telling so many differences")
            claimed[part] = b"\1" * len(one)
            yield Difference(site.table, site.address, one, other, _is_legal(prediction, site, one, other))


def _is_legal(prediction: Prediction, site: Site, *codes: bytes) -> bool:
    """Whether a site may hold these codes."""
    start = site.address - prediction.start
    predicted = prediction.text[start : start + site.length]
    return all(code == predicted or any(form.admits(code) for form in site.others) for code in codes)


def _runs(first: bytes, second: bytes, claimed: bytearray) -> Iterator[tuple[int, int]]:
    """The runs [start, end) of bytes that differ and are not claimed, ascending."""
    start = end = -1
    for page, mask in masks(first, second):
        taken = int.from_bytes(claimed[page : page + _PAGE].translate(_ALL), "little")
        left = int.from_bytes(mask, "little") & ~taken
        for found in _DIFFERENT.finditer(left.to_bytes(len(mask), "little")):
            if page + found.start() != end:
                if start != end:
                    yield start, end
                start = page + found.start()
            end = page + found.end()
    if start != end:
        yield start, end


_ALL = b"\0" + b"\xff" * 255  # a byte that is not 0 as eight bits
