"""A predicted text against the text of the same kernel booted."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from pvspec.kernel import open_image

from .boot import Dump
from .qemu import Machine


class Counts(TypedDict):
    """How a boot's text and its predictions compare; numbers of bytes, but for `sites`."""

    text: int  # from _stext to _etext
    changed: int  # of these, those that the boot changed
    wrong_with_state: int  # those that the prediction has wrong, given the dump as the run-time state
    wrong_without_state: int  # the same, with the image's initial state
    unexplained: int  # of the latter, those outside every site that is reported as two-formed
    sites: dict[str, int]  # sites by family
    two_formed: dict[str, int]  # of these, those reported as two-formed without the state


def compare(kernel: Path, machine: Machine, dump: Dump) -> Counts:
    """Predict the text of a kernel's package on a machine, with and without the dump's state, and compare.

    Until there is a prediction it is the image's own text.
    """
    image = open_image(kernel)
    start, end = (image.symbols.address(symbol) for symbol in ("_stext", "_etext"))
    assert start is not None
    assert end is not None
    before, after = image.read(start, end - start), dump.text(start, end)
    changed = sum(old != new for old, new in zip(before, after, strict=True))
    return Counts(
        text=end - start,
        changed=changed,
        wrong_with_state=changed,
        wrong_without_state=changed,
        unexplained=changed,
        sites={},
        two_formed={},
    )
