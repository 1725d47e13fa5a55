"""Passes: which sites may share bytes, and what becomes of those that read what is not known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.engine.families import FamilySites
from pvspec.engine.sites import FamilySite
from pvspec.engine.spec import ELSEWHERE, Code, Family, Field, Hole, Layout
from pvspec.engine.text import Text
from pvspec.kernel import open_kernel
from pvspec.kernel.dump.dump import open_dump
from pvspec.prediction import passes
from pvspec.prediction.bind import bind
from pvspec.prediction.machine import Machine, PredictionError
from pvspec.prediction.passes import LenientSites, Site, run_passes
from tests.engine.samples import make_kernel, make_spec

from .kernel import SOURCE, build


def nested(*places: tuple[int, int], stays: int = -1) -> None:
    """Check sites at (address, length), all changed but for the one whose index is `stays`."""
    sites = [
        Site(f"t{number}", 0, address, length, b"\0" * length, bytes([number != stays]) * length, "")
        for number, (address, length) in enumerate(places)
    ]
    bound: Any = SimpleNamespace(image=SimpleNamespace(name="vmlinux"))
    passes._check_nested(bound, sites)


@pytest.mark.parametrize(
    "places",
    [
        [],
        [(0x10, 5), (0x15, 5)],
        [(0x15, 5), (0x10, 5)],
        [(0x10, 6), (0x13, 3)],
        [(0x13, 3), (0x10, 6)],
        [(0x10, 6), (0x10, 2), (0x14, 2)],
        [(0x10, 2), (0x10, 6), (0x14, 2)],
        [(0x10, 5), (0x10, 5)],
        [(0x10, 9), (0x11, 4), (0x12, 1), (0x15, 2), (0x19, 4)],
    ],
)
def test_sites_within_each_other(places: list[tuple[int, int]]) -> None:
    nested(*places)


@pytest.mark.parametrize(
    ("places", "outer", "inner"),
    [
        ([(0x10, 5), (0x14, 5)], "0x10 of t0 (5 bytes)", "0x14 of t1 (5 bytes)"),
        ([(0x14, 5), (0x10, 5)], "0x10 of t1 (5 bytes)", "0x14 of t0 (5 bytes)"),
        ([(0x10, 9), (0x11, 1), (0x18, 2)], "0x10 of t0 (9 bytes)", "0x18 of t2 (2 bytes)"),
        ([(0x10, 9), (0x11, 4), (0x14, 2)], "0x11 of t1 (4 bytes)", "0x14 of t2 (2 bytes)"),
    ],
)
def test_sites_that_share_some_bytes(places: list[tuple[int, int]], outer: str, inner: str) -> None:
    with pytest.raises(PredictionError) as error:
        nested(*places)
    assert str(error.value) == f"vmlinux: site {outer} overlaps site {inner}"
    for index in range(len(places)):
        if f"t{index} " in f"{outer} {inner}":
            nested(*places, stays=index)


def test_a_site_that_leads_elsewhere_stays() -> None:
    """Without any read, too: where it leads is then all that is not known."""
    layout = Layout(".sites", 4, (Field("site", 0, 32),))
    call = Code("a.pvs:1", data=b"\xe8" + bytes(4), holes=(Hole(1, 4, ELSEWHERE, 0, True, 5, True),))
    kernel = make_kernel(make_spec(families=[Family("f", layout, (call,), length=5)]))
    sites: FamilySites = LenientSites(kernel, kernel.spec.families["f"], Text(bytearray(b"\xaa" * 16), 0x1000))
    site = sites.site(FamilySite({"site": 0x1004}))
    assert site is not None
    found = sites.outcome(site, 7)
    assert (found.record, found.code, found.arm, found.before) == (7, None, None, b"\xaa" * 5)
    assert site.unreadable == {ELSEWHERE}


def test_a_key_outside_a_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump tells what is in its memory; of a site that reads elsewhere all forms are listed."""
    monkeypatch.chdir(tmp_path)
    image = open_kernel(
        build(SOURCE.replace(".long called - ., __SCK__hook - .", ".long called - ., _text - 0x100000 - ."))
    )
    Path("dump").write_bytes(image.memory)
    machine = Machine(cpus=1, features=("XMM2",))
    prediction = run_passes(bind(load_spec(Path("kernel.pvs")), image, machine, open_dump(Path("dump"), image)))
    (called,) = (site for site in prediction.sites if site.others)
    assert (called.table, called.after, called.where) == ("static_calls", called.before, "")
    assert [form.code for form in called.others] == ["0f 1f 44 00 00", "e8 ?? ?? ?? ??"]
