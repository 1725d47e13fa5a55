"""What nothing tells of a machine: each answer is followed, and what hangs on it is listed and has forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pvspec.kernel import open_kernel
from pvspec.prediction import Prediction, predict
from pvspec.prediction.cpu import parse_cpuinfo
from pvspec.prediction.machine import Machine, PredictionError

from .kernel import CPUINFO, SOURCE, SPEC, build

Predict = Callable[..., Prediction]

ONE = CPUINFO.partition("\n\n")[0] + "\n"
FEATURES = """\
    feature UNRET                "unret"
    feature BHI_CTRL   5*32 + 1
    feature CLEAR_BHB  5*32 + 2
    feature RRSBA      5*32 + 3
"""
HIDDEN = """
decide hidden in "common.c" {
    open BHI_CTRL, RRSBA from "the CPU's model" when cpu family == 6
}

decide bhi_select_mitigation in "bugs.c" {
    set CLEAR_BHB  when cpu has BHI_CTRL and mitigations is not off
}
"""


def spec_with(decisions: str, *changes: tuple[str, str]) -> str:
    """The small kernel's spec with hidden features, and these decisions."""
    text = SPEC.replace('    feature UNRET                "unret"\n', FEATURES) + decisions
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Predicts the small kernel, whose alternative is for the feature `alternative`, by a spec."""
    monkeypatch.chdir(tmp_path)

    def make(
        text: str, alternative: int = 5 * 32 + 2, cpuinfo: str = CPUINFO, more: str = "", **choices: Any
    ) -> Prediction:
        source = SOURCE.replace("replacement - ., 3", f"replacement - ., {alternative}") + more
        image = open_kernel(build(source))
        Path("kernel.pvs").write_text(text)
        machine = Machine(cpu=parse_cpuinfo(cpuinfo, "cpuinfo"), **choices)
        return predict(image, machine, spec="kernel.pvs")

    return make


def record(site: str, size: int, replacement: str) -> str:
    """A further alternative, for CLEAR_BHB: the bytes of its site, and those of its replacement."""
    count = replacement.count(",") + 1
    return f"""
    .section .altinstructions, "a"
        .long {site} - ., of_{site} - ., 5*32 + 2
        .byte {size}, {count}
    .section .altinstr_replacement, "ax"
    of_{site}: .byte {replacement}
"""


LOCK = """
    .section .smp_locks, "a"
        .long constant - .
"""


def listed(prediction: Prediction) -> list[tuple[str, bool | None, int, int]]:
    return [(fact.name, fact.taken, fact.sites, fact.bytes) for fact in prediction.open]


class TestAFeature:
    def test_is_listed_with_what_hangs_on_it(self, predicted: Predict) -> None:
        """RRSBA is open as well, and nothing asks for it."""
        found = predicted(spec_with(HIDDEN))
        assert listed(found) == [("BHI_CTRL", False, 1, 5)]
        (fact,) = found.open
        assert (fact.source, fact.settle, fact.failed) == ("the CPU's model", "--assume BHI_CTRL=yes|no", "")
        assert str(fact) == ("open: BHI_CTRL, taken as no (the CPU's model): 1 site, 5 bytes; --assume BHI_CTRL=yes|no")

    def test_gives_its_sites_a_form(self, predicted: Predict) -> None:
        found = predicted(spec_with(HIDDEN))
        (site,) = (site for site in found.sites if site.table == "alternatives")
        assert site.after == site.before
        (form,) = site.others
        assert form.admits(bytes.fromhex("0faef0 0f1f00"))
        assert (form.where.startswith("kernel.pvs:"), form.when) == (True, "BHI_CTRL")

    @pytest.mark.parametrize("answer", [True, False])
    def test_can_be_settled(self, predicted: Predict, answer: bool) -> None:
        found = predicted(spec_with(HIDDEN), assumed={"BHI_CTRL": answer})
        (site,) = (site for site in found.sites if site.table == "alternatives")
        assert (found.open, site.others, "CLEAR_BHB" in found.features) == ((), (), answer)
        assert (site.after != site.before) == answer

    @pytest.mark.parametrize("told", [{"features": ("BHI_CTRL",)}, {"lacking": ("BHI_CTRL",)}])
    def test_can_be_told(self, predicted: Predict, told: dict[str, Any]) -> None:
        found = predicted(spec_with(HIDDEN), **told)
        assert found.open == ()
        assert ("CLEAR_BHB" in found.features) == ("features" in told)

    def test_that_turns_nothing_is_not_listed(self, predicted: Predict) -> None:
        assert predicted(spec_with(HIDDEN), cmdline="mitigations=off").open == ()
        assert predicted(spec_with(HIDDEN), alternative=3).open == ()

    def test_that_a_record_names(self, predicted: Predict) -> None:
        assert listed(predicted(spec_with(HIDDEN), alternative=5 * 32 + 3)) == [("RRSBA", False, 1, 5)]

    def test_that_an_arm_asks_for(self, predicted: Predict) -> None:
        change = ("cpu has UNRET", "cpu has UNRET and cpu has RRSBA")
        found = predicted(spec_with(HIDDEN, change), alternative=3)
        assert listed(found) == [("RRSBA", False, 1, 5)]
        (site,) = (site for site in found.sites if site.table == "returns")
        assert [form.code for form in site.others] == [site.before.hex(" ")]

    def test_that_another_one_makes_matter(self, predicted: Predict) -> None:
        """RRSBA counts only where BHI_CTRL is there, so the prediction has taken it for nothing."""
        found = predicted(spec_with(HIDDEN, ("cpu has BHI_CTRL", "cpu has BHI_CTRL and cpu has RRSBA")))
        assert {fact.name: fact.bytes for fact in found.open} == {"BHI_CTRL": 5, "RRSBA": 5}
        (site,) = (site for site in found.sites if site.table == "alternatives")
        (form,) = site.others
        assert form.when == "BHI_CTRL and RRSBA"

    def test_that_is_likely_is_predicted(self, predicted: Predict) -> None:
        """One on which a decision turns, and one that only a record names."""
        likely = HIDDEN.replace("RRSBA from", "RRSBA likely from")
        for alternative, name in ((5 * 32 + 2, "BHI_CTRL"), (5 * 32 + 3, "RRSBA")):
            found = predicted(spec_with(likely), alternative=alternative)
            (site,) = (site for site in found.sites if site.table == "alternatives")
            assert listed(found) == [(name, True, 1, 5)]
            assert site.after == bytes.fromhex("0faef0 0f1f00")
            assert [(form.code, form.when) for form in site.others] == [(site.before.hex(" "), f"not {name}")]

    def test_what_it_changes_is_seen_by_later_passes(self, predicted: Predict) -> None:
        """The alternative brings a lock prefix along, without which one processor does; the 07 is the constant's."""
        found = predicted(spec_with(HIDDEN), more=record("constant", 5, "0xf0, 0xff, 0x07") + LOCK, cpus=1)
        sites = [site for site in found.sites if site.address == found.bound.image.symbols.address("constant")]
        assert [(site.table, [form.code for form in site.others]) for site in sites[:2]] == [
            ("alternatives", ["3e 07 07 66 90"]),
            ("smp_locks", ["3e"]),
        ]

    def test_that_changes_init_text_alone_is_not_listed(self, predicted: Predict) -> None:
        found = predicted(spec_with(HIDDEN), alternative=3, more=record("init_locked", 3, "0x90, 0x90, 0x90"))
        assert found.open == ()
        assert any(site.others for site in found.sites if site.table == "alternatives")

    def test_that_is_decided_later_is_not_open(self, predicted: Predict) -> None:
        later = 'decide later in "a.c" {\n    clear RRSBA\n}\n'
        assert predicted(spec_with(HIDDEN + later), alternative=5 * 32 + 3).open == ()

    def test_that_the_cpu_shows_is_not_open(self, predicted: Predict) -> None:
        text = spec_with(HIDDEN, ("feature BHI_CTRL   5*32 + 1", 'feature BHI_CTRL   5*32 + 1  "bhi_ctrl"'))
        found = predicted(text, cpuinfo=CPUINFO.replace("sse2", "sse2 bhi_ctrl"))
        assert (found.open, "CLEAR_BHB" in found.features) == ((), True)

    @pytest.mark.parametrize(
        ("assumed", "message"),
        [
            ({"BHI_CTL": True}, "there is no feature 'BHI_CTL'"),
            ({"XMM2": False}, "XMM2 cannot be assumed: the CPU shows it"),
            ({"CLEAR_BHB": True}, "CLEAR_BHB cannot be assumed: nothing that this kernel decides leaves it open"),
            ({"BHI_CTRL": 2}, "BHI_CTRL is assumed to be 2: of a feature it is yes or no"),
            ({"threads": True}, "threads is assumed to be True: it is a number"),
        ],
    )
    def test_that_cannot_be_assumed(self, predicted: Predict, assumed: dict[str, Any], message: str) -> None:
        with pytest.raises(PredictionError, match=message):
            predicted(spec_with(HIDDEN), assumed=assumed)


class TestMany:
    def features(self, count: int) -> tuple[str, str]:
        """Decisions that turn on each of so many open features, and their declarations."""
        names = [f"HIDDEN_{number}" for number in range(count)]
        declared = "".join(f"    feature {name}  6*32 + {number}\n" for number, name in enumerate(names))
        counted = "".join(f"    set CLEAR_BHB when cpu has {name}\n" for name in names)
        decisions = f'decide f in "a.c" {{\n    open {", ".join(names)} from "nobody"\n{counted}}}\n'
        return decisions, declared

    def test_that_decide_alike_are_one_world(self, predicted: Predict) -> None:
        decisions, declared = self.features(6)
        found = predicted(spec_with(decisions, ("    nops p6", declared + "    nops p6")))
        assert listed(found) == [(f"HIDDEN_{number}", False, 1, 5) for number in range(6)]
        assert len(found.bound.worlds.worlds) == 2
        (site,) = (site for site in found.sites if site.table == "alternatives")
        assert len(tuple(site.others)) == 1

    def test_too_many(self, predicted: Predict) -> None:
        decisions, declared = self.features(7)
        message = r"answered in more than 64 ways; settle some of it with --assume NAME=yes\|no: HIDDEN_0, HIDDEN_1,"
        with pytest.raises(PredictionError, match=message):
            predicted(spec_with(decisions, ("    nops p6", declared + "    nops p6")))


class TestProcessors:
    def test_one_that_is_listed_may_have_been_more(self, predicted: Predict) -> None:
        found = predicted(SPEC, cpuinfo=ONE)
        assert listed(found) == [("cpus == 1", True, 1, 1)]
        assert found.open[0].settle == "--cpus N"
        locked = next(site for site in found.sites if site.table == "smp_locks")
        assert (locked.after, [form.code for form in locked.others]) == (b"\x3e", ["f0"])

    def test_more_are_likelier_where_the_package_has_more(self, predicted: Predict) -> None:
        assert listed(predicted(SPEC, cpuinfo=ONE + "siblings : 2\ncpu cores : 2\n")) == [("cpus == 1", False, 1, 1)]

    @pytest.mark.parametrize("cpus", [1, 2])
    def test_the_user_knows(self, predicted: Predict, cpus: int) -> None:
        found = predicted(SPEC, cpuinfo=ONE, cpus=cpus)
        locked = next(site for site in found.sites if site.table == "smp_locks")
        assert (found.open, locked.after) == ((), b"\x3e" if cpus == 1 else b"\xf0")

    def test_two_that_are_listed_are_two(self, predicted: Predict) -> None:
        assert predicted(SPEC).open == ()

    def test_two_that_are_listed_brought_the_locks_back(self, predicted: Predict) -> None:
        """Whatever the command line said when the kernel patched itself."""
        text = SPEC.replace("feature UNRET  ", "feature UP\n    feature UNRET  ").replace(
            "cpus == 1 and", "cpu has UP and"
        )
        text += 'decide alternatives in "alternative.c" {\n    set UP unless told when mitigations is off\n}\n'
        for cpus, first in ((None, b"\xf0"), (2, b"\x3e")):
            found = predicted(text, cmdline="mitigations=off", cpus=cpus)
            assert next(site for site in found.sites if site.table == "smp_locks").after == first


NUMBERS = """
decide numbers in "a.c" {
    set CLEAR_BHB  when cpu threads == 1
    set RRSBA      when cpu microcode >= 0x100
    set BHI_CTRL   when cpu microcode >= 0x200
}
"""


class TestNumbersOfTheCpu:
    def test_are_open_where_the_file_lacks_them(self, predicted: Predict) -> None:
        found = predicted(spec_with(NUMBERS))
        assert listed(found) == [("cpu threads == 1", False, 1, 5)]
        (fact,) = found.open
        assert (fact.source, fact.settle) == ("`siblings` and `cpu cores` of /proc/cpuinfo", "--assume threads=N")
        found = predicted(spec_with(NUMBERS), alternative=5 * 32 + 3)
        assert listed(found) == [("cpu microcode >= 0x100", True, 1, 5)]

    def test_answers_do_not_contradict_each_other(self, predicted: Predict) -> None:
        """Not older than 0x100 and newer than 0x200: three worlds, not four."""
        found = predicted(spec_with(NUMBERS.replace("CLEAR_BHB  when cpu threads == 1", "CLEAR_BHB")), alternative=161)
        ways = [answers for world in found.bound.worlds.worlds for answers in world.answers]
        assert len(ways) == 3

    @pytest.mark.parametrize(
        ("lines", "there"), [("siblings : 2\ncpu cores : 2\n", True), ("siblings : 4\ncpu cores : 2\n", False)]
    )
    def test_are_read(self, predicted: Predict, lines: str, there: bool) -> None:
        found = predicted(spec_with(NUMBERS), cpuinfo=ONE + lines, cpus=2)
        assert (found.open, "CLEAR_BHB" in found.features) == ((), there)

    @pytest.mark.parametrize(("threads", "there"), [(1, True), (2, False)])
    def test_can_be_assumed(self, predicted: Predict, threads: int, there: bool) -> None:
        found = predicted(spec_with(NUMBERS), assumed={"threads": threads})
        assert (found.open, "CLEAR_BHB" in found.features) == ((), there)

    def test_cannot_be_assumed_against_the_file(self, predicted: Predict) -> None:
        with pytest.raises(PredictionError, match="threads is assumed to be 2, but by the /proc/cpuinfo it is 1"):
            predicted(spec_with(NUMBERS), cpuinfo=ONE + "siblings : 2\ncpu cores : 2\n", assumed={"threads": 2})


class TestAWorldThatCannotBe:
    STOPS = (
        "keep                    when cpu has UNRET",
        'bug "no returns" when cpu has CLEAR_BHB\n    keep when cpu has UNRET',
    )

    def test_is_listed(self, predicted: Predict) -> None:
        found = predicted(spec_with(HIDDEN, self.STOPS), alternative=3)
        (fact,) = found.open
        assert (fact.name, fact.sites, fact.bytes) == ("BHI_CTRL", 0, 0)
        assert fact.failed.startswith("returns: record 0: ")
        assert "no returns" in str(fact)

    def test_that_is_predicted_is_refused(self, predicted: Predict) -> None:
        with pytest.raises(PredictionError, match="no returns"):
            predicted(spec_with(HIDDEN, self.STOPS), alternative=3, assumed={"BHI_CTRL": True})


INTERFACE = """
interface pv {
    table ".parainstructions" { addr u64  type u8  len u8  clobber u16  pad 4 }
    max_len 8
    registers { rax 1 }
    op nop 0 len 5
}
backend native for pv {
    nop = bytes "90 90" when cpu has CLEAR_BHB else nop
}
backend kvm for pv {
    otherwise = nop
}
"""
SITE = """
    .section .parainstructions, "a"
        .quad labelled
        .byte 0, 5
        .word 1
        .long 0
"""


class TestAnInterface:
    def test_whose_rule_is_another_one(self, predicted: Predict) -> None:
        text = spec_with(HIDDEN + INTERFACE, RUNS, ("jump_labels, ", ""))
        found = predicted(text, alternative=3, more=SITE)
        assert listed(found) == [("BHI_CTRL", False, 1, 4)]
        (site,) = (site for site in found.sites if site.table == "pv")
        assert site.after == bytes.fromhex("0f 1f 44 00 00")
        assert [(form.code, form.when) for form in site.others] == [("90 90 0f 1f 00", "BHI_CTRL")]

    def test_that_comes_after_what_differs(self, predicted: Predict) -> None:
        """The interface writes over all of the alternative but its first byte."""
        change = ("smp_locks, returns", "pv, smp_locks, returns")
        text = spec_with(HIDDEN + INTERFACE.replace('bytes "90 90" when cpu has CLEAR_BHB else ', ""), change)
        found = predicted(text, more=SITE.replace("labelled", "alternative + 1"))
        assert listed(found) == [("BHI_CTRL", False, 1, 1)]
        (site,) = (site for site in found.sites if site.table == "alternatives")
        assert [form.code for form in site.others] == ["0f 0f 1f 44 00 00"]

    def test_what_two_come_to_together(self, predicted: Predict) -> None:
        """One changes the alternative, the other the site inside it: there is a form for both at once."""
        change = ("smp_locks, returns", "pv, smp_locks, returns")
        inside = SITE.replace("labelled", "alternative + 1")
        found = predicted(spec_with(HIDDEN + INTERFACE, change), alternative=5 * 32 + 3, more=inside)
        forms = {
            site.table: {(form.code, form.when) for form in site.others}
            for site in found.sites
            if site.table in ("alternatives", "pv")
        }
        assert forms == {
            "alternatives": {("0f 0f 1f 44 00 00", "RRSBA"), ("0f 90 90 0f 1f 00", "BHI_CTRL and RRSBA")},
            "pv": {("90 90 0f 1f 00", "BHI_CTRL")},
        }


RUNS = ("passes { alternatives", "passes { pv, alternatives")


def test_a_guest_on_no_hypervisor_is_warned_of(predicted: Predict) -> None:
    guest = CPUINFO.replace("sse2", "sse2 hypervisor")
    (warning,) = predicted(spec_with(INTERFACE, RUNS), cpuinfo=guest).warnings
    assert "name the hypervisor with --hypervisor (kvm)" in warning
    assert predicted(spec_with(INTERFACE, RUNS), cpuinfo=guest, hypervisor="kvm").warnings == ()
    assert predicted(spec_with(INTERFACE, RUNS)).warnings == ()
    assert predicted(SPEC, cpuinfo=guest).warnings == ()
    profile = guest.partition("\n\n")[0].replace("processor\t: 0\n", "")  # nobody's machine
    assert predicted(spec_with(INTERFACE, RUNS), cpuinfo=profile).warnings == ()
