"""Passes: which sites may share bytes, and what becomes of those that read what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.engine.families import FamilySites
from pvspec.engine.records import build_records
from pvspec.engine.sites import FamilySite
from pvspec.engine.spec import ELSEWHERE, Code, Family, Field, Hole, Keep, Layout, Names
from pvspec.engine.text import Text
from pvspec.kernel import open_kernel
from pvspec.kernel.dump.dump import open_dump
from pvspec.prediction import passes
from pvspec.prediction.bind import bind
from pvspec.prediction.family_sites import LenientSites
from pvspec.prediction.machine import Machine, PredictionError
from pvspec.prediction.passes import Prediction, Site, run_passes
from tests.engine.samples import make_kernel, make_spec

from .kernel import SOURCE, build
from .test_bind import BASE, image, spec


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


class TestOfAnImage:
    """Passes over a made-up image: an interface's table, and families of symbols."""

    PARA = Layout(
        ".para", 8, (Field("addr", 0, 32), Field("type", 32, 8), Field("len", 40, 8), Field("clobber", 48, 16))
    )
    SYMBOLS = {"_text": BASE, "_etext": BASE + 0x80, "sym_1": BASE + 0x40, "sym_2": BASE + 0x90}  # noqa: RUF012

    def predicted(self, *families: Family, whole: bool = False, **changed: Any) -> Prediction:
        records = [
            {"addr": BASE + 0x20, "type": 0, "len": 1, "clobber": 1},
            {"addr": BASE + 0x28, "type": 0, "len": 1},
            {"addr": BASE + 0x88, "type": 1, "len": 1},
        ]
        rules = {"first": (Code("a.pvs:1", data=b"\xfa", clobbers=1), Code("a.pvs:2", data=b"\xfb"))}
        asks = spec(*families, layout=self.PARA)
        native = asks.backends["native"].changed(rules=rules)
        assert asks.interface is not None
        asks = asks.changed(backends={"native": native}, interface=asks.interface.changed(names=Names({"wide": False})))
        table = build_records(self.PARA, records)
        of = image(self.SYMBOLS, {".para": table}, memory=bytearray(table.ljust(0x100, b"\xaa")))
        for name, value in changed.items():
            setattr(of, name, value)
        return run_passes(bind(asks, of, Machine(features=("FAST",))), every_site=whole)

    def test_an_interface(self) -> None:
        found = self.predicted()
        assert [site[:7] for site in found.sites] == [
            ("pv", 0, BASE + 0x20, 1, b"\xaa", b"\xfa", "a.pvs:1"),
            ("pv", 1, BASE + 0x28, 1, b"\xaa", b"\xfb", "a.pvs:2"),
            ("pv", 2, BASE + 0x88, 1, b"\xaa", b"\xaa", ""),
        ]
        assert found.counts == {"pv": {"records": 3, "sites": 2, "changed": 2, "dynamic": 0}}
        assert [site.record for site in found.inside()] == [0, 1]
        assert found.text == found.memory[:0x80]

    def test_which_sites_cover_an_address(self) -> None:
        found = self.predicted()
        assert [len(found.at(BASE + offset)) for offset in (0x1F, 0x20, 0x21)] == [0, 1, 0]

    def test_features_are_those_with_a_number(self) -> None:
        found = self.predicted()
        machine = found.bound.spec.machine.changed(features={"FAST": 3, "SLOW": 4, "DECISION": -1})
        kernel: Any = SimpleNamespace(spec=SimpleNamespace(machine=machine), features={3, -1})
        bound: Any = SimpleNamespace(spec=kernel.spec, kernel=kernel)
        assert replace(found, bound=bound).features == {"FAST"}

    def family(self, *rule: Code | Keep) -> Family:
        fields = (Field("site", 0, 32),)
        return Family("f", Layout("sym_*", 4, fields, patterns={"site": "sym_*"}), rule, length=1)

    def test_sites_that_symbols_name(self) -> None:
        """Those of which nothing changes are left out, unless all is to be told."""
        kept = self.family(Keep("a.pvs:3"))
        assert [site.table for site in self.predicted(kept).sites] == ["pv"] * 3
        whole = self.predicted(kept, whole=True)
        told = [site[:3] for site in whole.sites if site.table == "f"]
        assert told == [("f", 0, BASE + 0x40), ("f", 1, BASE + 0x90)]
        assert whole.counts["f"] == {"records": 2, "sites": 1, "changed": 0, "dynamic": 0}
        changes = self.predicted(self.family(Code("a.pvs:3", data=b"\xcc")))
        assert [site[:3] for site in changes.sites if site.table == "f"] == told
        assert changes.counts["f"] == {"records": 2, "sites": 1, "changed": 1, "dynamic": 0}

    def test_sites_that_lead_elsewhere(self) -> None:
        call = Code("a.pvs:3", data=b"\xeb\0", holes=(Hole(1, 1, ELSEWHERE, 0, True, 2, True),))
        family = self.family(call).changed(length=2)
        sites = [site for site in self.predicted(family).sites if site.table == "f"]
        assert [(site.after, site.where, [form.code for form in site.others]) for site in sites] == [
            (b"\xaa\xaa", "", ["eb ??"])
        ] * 2

    def test_a_modules_text_is_all_of_it(self) -> None:
        found = self.predicted(kind="module")
        assert (found.start, found.end) == (BASE, BASE + 0x100)

    @pytest.mark.parametrize("start", [BASE - 1, BASE + 0x81])
    def test_text_outside_the_image(self, start: int) -> None:
        symbols = type(image().symbols)({**self.SYMBOLS, "_text": start})
        with pytest.raises(PredictionError, match=r"has no symbols _text and _etext"):
            self.predicted(symbols=symbols)
