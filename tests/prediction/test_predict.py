"""A small kernel with a table of each kind, predicted: each site before, after, and what else it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.kernel import open_kernel
from pvspec.prediction import Prediction, Site
from pvspec.prediction.bind import bind
from pvspec.prediction.machine import Machine, PredictionError
from pvspec.prediction.passes import run_passes

from .conftest import Binder
from .kernel import SOURCE, build


def site(prediction: Prediction, name: str, family: str | None = None) -> Site:
    """The last site at a symbol, or a byte behind it."""
    address = prediction.bound.image.symbols.address(name)
    assert address is not None
    found = [s for s in prediction.sites if s.address - address in (0, 1) and family in (None, s.table)]
    return found[-1]


def after(prediction: Prediction, name: str) -> str:
    return site(prediction, name).after.hex(" ")


def test_each_table(bound: Binder) -> None:
    prediction = run_passes(bound(cpus=1))
    assert {name: after(prediction, name) for name in ("alternative", "locked", "labelled", "called", "constant")} == {
        "alternative": "0f ae f0 0f 1f 00",
        "locked": "3e",
        "labelled": "e9 0c 00 00 00",
        "called": "e8 06 00 00 00",
        "constant": "07",
    }
    assert after(prediction, "__SCT__hook")[:2] == "e9"
    assert after(prediction, "__SCT__none") == "c3 cc cc cc cc"
    assert all(one.before == one.after for one in prediction.sites if one.table == "returns")  # UNRET: they stay


def test_the_text_is_what_the_sites_say(bound: Binder) -> None:
    """And nothing else: as `apply` would write it, too."""
    of = bound(cpus=1)
    prediction = run_passes(of)
    expected = bytearray(of.image.memory)
    for one in prediction.sites:
        start = one.address - of.image.base
        expected[start : start + one.length] = one.after
    assert prediction.memory == expected == of.patched()[0]
    assert [prediction.start, prediction.end] == [of.image.symbols.address(name) for name in ("_text", "_etext")]
    assert prediction.text == memoryview(expected)[prediction.start - of.image.base : prediction.end - of.image.base]


def test_what_decides(bound: Binder) -> None:
    for choices, name, code in (
        ({"cpus": 2}, "alternative", "0f ae f0 0f 1f 00"),
        ({"lacking": ("XMM2",)}, "alternative", "f0 83 44 24 fc 00"),
        ({"cmdline": "mitigations=off"}, "return_site", "c3 cc cc cc cc"),
        ({"cmdline": "mitigations=off nosmp"}, "return_site", "c3 cc cc cc cc"),
    ):
        prediction = run_passes(bound(**choices))
        found = site(prediction, name) if name != "alternative" or "lacking" not in choices else None
        address = prediction.bound.image.symbols.address(name)
        assert address is not None
        start = address - prediction.bound.image.base
        assert prediction.memory[start : start + len(bytes.fromhex(code))].hex(" ") == code
        assert found is None or found.after.hex(" ") == code


def test_init_text_is_left_out(bound: Binder) -> None:
    prediction = run_passes(bound(cpus=1))
    assert prediction.counts["smp_locks"] == {"records": 2, "sites": 1, "changed": 1, "dynamic": 0}
    assert len([s for s in prediction.sites if s.table == "smp_locks"]) == 2
    assert all(prediction.start <= s.address < prediction.end for s in prediction.inside())


def test_a_table_of_which_nothing_changes(bound: Binder) -> None:
    """Its sites are listed all the same."""
    (lock, _) = [s for s in run_passes(bound()).sites if s.table == "smp_locks"]
    assert (lock.before, lock.after, lock.where) == (b"\xf0", b"\xf0", "")


class TestOtherForms:
    def others(self, prediction: Prediction, name: str) -> list[str]:
        return [form.code for form in site(prediction, name).others]

    def test_without_a_dump_both_forms_are_named(self, bound: Binder) -> None:
        prediction = run_passes(bound())
        assert self.others(prediction, "labelled") == ["0f 1f 44 00 00"]
        assert self.others(prediction, "called") == ["0f 1f 44 00 00", "e8 ?? ?? ?? ??"]
        assert self.others(prediction, "__SCT__none") == ["e9 ?? ?? ?? ??"]
        assert self.others(prediction, "constant") == ["??"]
        assert prediction.counts["trampolines"]["dynamic"] == 2

    def test_each_has_its_rule(self, bound: Binder) -> None:
        called = site(run_passes(bound()), "called")
        lines = Path("kernel.pvs").read_text().splitlines()
        rules = [lines[int(form.where.partition(":")[2]) - 1].split()[0] for form in called.others]
        assert rules == ["nop", "call"]
        assert called.where == [*called.others][1].where

    def test_a_dump_leaves_one(self, bound: Binder, vmlinux: Path) -> None:
        image = open_kernel(vmlinux)
        memory = bytearray(image.memory)
        for name, value in (("key", b"\1\0\0\0"), ("__SCK__hook", bytes(8)), ("shift", b"\x2a")):
            address = image.symbols.address(name)
            assert address is not None
            start = address - image.base
            memory[start : start + len(value)] = value
        Path("dump").write_bytes(memory)
        prediction = run_passes(bound(state=Path("dump")))
        assert after(prediction, "labelled") == "0f 1f 44 00 00"
        assert after(prediction, "called") == "0f 1f 44 00 00"
        assert after(prediction, "__SCT__hook") == "c3 cc cc cc cc"
        assert after(prediction, "constant") == "2a"
        assert not any(one.others for one in prediction.sites)


def changed(old: str, new: str) -> Any:
    """The kernel with a line of its source changed, bound to one CPU."""
    assert old in SOURCE
    vmlinux = build(SOURCE.replace(old, new))
    return bind(load_spec(Path("kernel.pvs")), open_kernel(vmlinux), Machine(cpus=1, features=("XMM2",)))


@pytest.mark.usefixtures("vmlinux")
class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (".long locked - .,", ".long _etext + 0x3000 - .,", "smp_locks: record [0-9]+, .*its 1 bytes are outside"),
            (".long return_site - .", ".long _text - 0x1000 - .", "returns: record [0-9]+, .*its 5 bytes are outside"),
            ("replacement - ., 3", "key + 0x10000000 - ., 3", "3 bytes at 0x[0-9a-f]+ are outside the image"),
            (".byte 6, 3", ".byte 2, 3", "a replacement of 3 bytes for a site of 2"),
            ("return_site - .", "return_site - .; .byte 1", "5 bytes is not a whole number of 4-byte records"),
            (
                "return_site - .",
                "return_site - .; .long return_site + 2 - .",
                "returns: site 0x[0-9a-f]+ overlaps site 0x[0-9a-f]+",
            ),
            (
                "return_site - .",
                "return_site - .; .long return_site - .",
                "returns: two records for site",
            ),
            # the mfence and three nops from `alternative` on, a call from its fourth byte on
            (
                "__start_calls: .long called - .,",
                "__start_calls: .long alternative + 3 - .,",
                r"site 0x[0-9a-f]+ of alternatives \(6 bytes\) overlaps site 0x[0-9a-f]+ of static_calls \(5 bytes\)",
            ),
        ],
    )  # fmt: skip
    def test_tables(self, old: str, new: str, message: str) -> None:
        with pytest.raises(PredictionError, match=f"^vmlinux: .*{message}"):
            run_passes(changed(old, new))

    def test_a_site_within_another_is_not(self) -> None:
        """A lock prefix in an alternative, as in real kernels."""
        prediction = run_passes(changed(".long locked - .,", ".long alternative - .,"))
        assert site(prediction, "alternative", "alternatives").after.hex(" ") == "0f ae f0 0f 1f 00"
        assert after(prediction, "alternative") == "0f"  # no lock any more, so the table leaves it

    def test_symbols_that_are_missing(self) -> None:
        with pytest.raises(PredictionError, match=r"has no symbols _text and _etext; give its System\.map"):
            run_passes(changed("    _etext:\n", "    _stop:\n"))

    def test_a_key_outside_the_image(self) -> None:
        """Memory of which the image says nothing, as before a kernel allocates it: the site has all its forms."""
        prediction = run_passes(changed(".long called - ., __SCK__hook - .", ".long called - ., _text - 0x100000 - ."))
        called = site(prediction, "called")
        assert (called.after, called.where) == (called.before, "")
        assert [form.code for form in called.others] == ["0f 1f 44 00 00", "e8 ?? ?? ?? ??"]
