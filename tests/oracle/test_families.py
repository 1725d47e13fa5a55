"""The whole text of Debian's kernels, predicted, against the memory of the same kernels booted."""

from __future__ import annotations

from functools import cache

import pytest

from . import boot, fetch
from .cases import Kernel
from .compare import Counts, compare

KERNELS = [
    Kernel("6.1", "amd64", "cloud-amd64"),
    Kernel("6.1", "i386", "686-pae"),
    Kernel("5.10", "amd64", "cloud-amd64"),
    Kernel("6.12", "amd64", "cloud-amd64"),
]


@cache
def _compared(kernel: Kernel) -> Counts | fetch.Unavailable:
    try:
        package = kernel.package()
        return compare(package, boot.PLAIN, boot.boot(package, fetch.busybox(kernel.arch)))
    except fetch.Unavailable as reason:
        return reason


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.name)
def counts(request: pytest.FixtureRequest) -> Counts:
    """How a plain boot of a kernel compares with its predictions."""
    found = _compared(request.param)
    if isinstance(found, fetch.Unavailable):
        pytest.skip(str(found))
    return found


def test_with_the_boots_own_state_no_byte_differs(counts: Counts) -> None:
    assert counts["wrong_with_state"] == 0
    assert counts["changed"] > 30_000
    assert counts["text"] > 8 << 20


def test_without_it_every_byte_that_differs_has_a_legal_form(counts: Counts) -> None:
    assert counts["unexplained"] == 0
    assert counts["wrong_without_state"] > 0  # jump labels that are switched at boot, at least
    assert "jump_labels" in counts["two_formed"]


def test_no_table_is_missing(counts: Counts) -> None:
    assert counts["absent"] == []
    assert {"alternatives", "smp_locks", "ftrace"} <= counts["sites"].keys()
