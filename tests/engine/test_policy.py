"""What a policy decides: the steps in their order, as the kernel's own C would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import BindError
from pvspec.engine.facts import Facts
from pvspec.engine.guards import (
    AllOf,
    BackendIs,
    CpuHas,
    CpuNumber,
    CpuVendor,
    Holds,
    KernelHas,
    Not,
    OpTargetIs,
    VariableIs,
)
from pvspec.engine.spec import Assign, Conditional, Cpu, Decide, Decision, Let, Listed, OpenFact, Steps, Target

from .test_decide import INTEL, spec

FAST, SLOW, DECISION, BUG = 3, 4, -1, 600
HERE = "policy.pvs:1"


def sets(*features: int, when: Any = None, unless_told: bool = False) -> Decision:
    return Decision(HERE, True, features, when, unless_told)


def clears(*features: int, when: Any = None, unless_told: bool = False) -> Decision:
    return Decision(HERE, False, features, when, unless_told)


def decided(*steps: Steps, backend: str = "xen", symbols: Iterable[str] = (), **bound: Any) -> Kernel:
    asks = spec(Decide("first", "a.c", steps[:1]), Decide("second", "b.c", steps[1:]), symbols=symbols)
    return Kernel(Facts(asks, backend, **{"cpu": INTEL, **bound, "symbols": dict.fromkeys(symbols, 1)}))


def features(*steps: Steps, **bound: Any) -> set[int]:
    return set(decided(*steps, **bound).features)


def test_sets_and_clears() -> None:
    assert features(sets(FAST, DECISION), features=["SLOW"]) == {FAST, SLOW, DECISION}
    assert features(clears(SLOW), features=["SLOW", "BUG"]) == {BUG}


def test_without_a_cpu_the_features_are_the_decisions() -> None:
    assert features(sets(FAST), features=["SLOW"], cpu=None) == {SLOW}


def test_one_after_the_other() -> None:
    """A later step sees what an earlier one did, in whichever function, whatever was asked before it."""
    third = sets(DECISION, when=CpuHas(FAST))
    assert features(sets(FAST), third) == {FAST, DECISION}
    assert features(third, sets(FAST)) == {FAST}
    assert features(third, sets(FAST), third) == {FAST, DECISION}
    assert features(sets(FAST), clears(FAST, when=CpuHas(FAST)), third) == set()


def test_guards() -> None:
    steps = (
        sets(FAST, when=AllOf((CpuVendor("GenuineIntel"), CpuNumber("model", ">=", 85)))),
        sets(SLOW, when=BackendIs("xen")),
        sets(DECISION, when=KernelHas("its_thunk")),
    )
    assert features(*steps) == {FAST, SLOW}
    assert features(*steps, backend="native", symbols=["its_thunk"]) == {FAST, DECISION}


def test_targets_follow_what_is_decided_so_far() -> None:
    asks, empty = Target(("second",), None, guard=CpuHas(FAST)), OpTargetIs("second", None)
    steps = (sets(SLOW, when=empty), sets(FAST), sets(BUG, when=empty))
    bound = spec(Decide("first", "a.c", steps), targets=(asks,))
    assert Kernel(Facts(bound, "xen", cpu=INTEL, targets={1: 9})).features == {FAST, BUG}


def test_if_asks_once() -> None:
    """What a step inside changes has no say in which steps are done."""
    has = CpuHas(FAST)
    both = Conditional(HERE, has, (clears(FAST), sets(SLOW)), (sets(FAST), sets(BUG)))
    assert features(both, features=["FAST"]) == {SLOW}
    assert features(both) == {FAST, BUG}
    assert features(both, both) == {SLOW, BUG}
    inner = Conditional(HERE, CpuHas(BUG), (sets(DECISION),))
    assert features(Conditional(HERE, has, (sets(BUG), inner)), features=["FAST"]) == {FAST, BUG, DECISION}


def test_let_is_as_it_was() -> None:
    let, later = Let(HERE, "quick", CpuHas(FAST)), sets(DECISION, when=Holds("quick"))
    assert features(let, clears(FAST), later, features=["FAST"]) == {DECISION}
    assert features(let, sets(FAST), later) == {FAST}
    assert features(let, sets(FAST), let, later) == {FAST, DECISION}


def test_variables() -> None:
    """Of the command line, and as functions set them for each other."""
    off, done = VariableIs("smp", "no"), Assign(HERE, "smp", "no", CpuHas(FAST))
    assert features(sets(SLOW, when=off), cmdline="nosmp") == {SLOW}
    assert features(sets(SLOW, when=off), done, sets(BUG, when=off), features=["FAST"]) == {FAST, BUG}
    assert features(done, sets(BUG, when=off)) == set()
    assert decided(Assign(HERE, "most", 1)).decisions.variables == {"smp": "yes", "most": 1}


def test_what_is_not_bound_is_missed_only_if_it_matters() -> None:
    asks = sets(SLOW, when=AllOf((CpuNumber("threads", "==", 1), CpuHas(FAST))))
    assert features(asks) == set()
    with pytest.raises(BindError, match="the cpu's threads is not bound"):
        features(asks, features=["FAST"])
    assert features(asks, features=["FAST"], cpu=Cpu("GenuineIntel", 6, 85, 7, threads=1)) == {FAST, SLOW}


@pytest.mark.parametrize(
    ("cmdline", "left"),
    [
        ("", {3, 4, 600}),
        ("clearcpuid=fast", {4, 600}),
        ("clearcpuid=slow,fast", {600}),
        ("quiet clearcpuid=3,slow", {600}),
        ("quiet clearcpuid=3 clearcpuid=slow", {3, 600}),
        ("clearcpuid=nothing,4,-1", {3, 600}),
        ("xclearcpuid=fast", {3, 4, 600}),
        ("clearcpuids fast clearcpuidsfast", {3, 4, 600}),
        ("clearcpuid", {3, 4, 600}),
    ],
)
def test_listed(cmdline: str, left: set[int]) -> None:
    everything = {"features": [3, 4, 600], "cmdline": cmdline}
    assert features(Listed(HERE, False, False, "clearcpuid"), **everything) == left
    assert features(Listed(HERE, True, False, "clearcpuid"), cmdline=cmdline) == {3, 4, 600} - left
    assert features(clears(BUG), **everything) == {3, 4}


def test_listed_numbers_end_before_what_is_none() -> None:
    step = Listed(HERE, False, True, "clearcpuid")
    assert features(step, features=[3, 4, 600], cmdline="clearcpuid=3,fast,4") == {4, 600}
    assert features(step, features=[3, 4, 600], cmdline="clearcpuid=fast,4") == {3, 4, 600}


def test_what_the_user_told() -> None:
    """It is so from the start, a plain step decides it all the same, `unless told` leaves it alone."""
    assert features(sets(SLOW, when=CpuHas(FAST)), assumed={"FAST": True}) == {FAST, SLOW}
    assert features(sets(SLOW, when=CpuHas(FAST)), features=["FAST"], assumed={"FAST": False}) == set()
    assert features(clears(FAST), assumed={"FAST": True}) == set()
    assert features(clears(FAST, SLOW, unless_told=True), features=["SLOW"], assumed={"FAST": True}) == {FAST}
    assert features(sets(FAST, SLOW, unless_told=True), assumed={"FAST": False}) == {SLOW}


def test_the_nops_follow_the_policy() -> None:
    assert decided(sets(FAST)).nops_name == "p6"
    assert decided(clears(FAST), features=["FAST"]).nops_name == "k8"


class TestOpen:
    STEP = OpenFact(HERE, (FAST, SLOW), False, "who knows", Not(CpuHas(BUG)))

    def opened(self, *steps: Steps, **bound: Any) -> set[int]:
        of = decided(*steps, **bound)
        assert set(of.decisions.opened.values()) <= {self.STEP}
        return set(of.decisions.opened)

    def test_what_is_clear_is_open_and_remains_so(self) -> None:
        assert self.opened(self.STEP) == {FAST, SLOW}
        assert features(self.STEP) == set()
        assert self.opened(self.STEP, sets(FAST)) == {FAST, SLOW}  # something between may have asked

    def test_what_is_there_is_not(self) -> None:
        assert self.opened(self.STEP, features=["FAST"]) == {SLOW}
        assert self.opened(sets(FAST), self.STEP) == {SLOW}
        assert self.opened(clears(FAST), self.STEP, features=["FAST"]) == {FAST, SLOW}

    def test_what_is_likely_is_set_and_open(self) -> None:
        likely = self.STEP.changed(likely=True)
        of = decided(likely, sets(DECISION, when=CpuHas(SLOW)), features=["FAST"])
        assert of.features == {FAST, SLOW, DECISION}
        assert of.decisions.opened == {SLOW: likely}
        assert features(likely, assumed={"SLOW": False}) == {FAST}

    def test_unless_the_guard_holds(self) -> None:
        assert self.opened(self.STEP, features=["BUG"]) == set()

    def test_what_the_user_told_is_so(self) -> None:
        """Whatever was decided before."""
        assert self.opened(self.STEP, assumed={"FAST": True, "SLOW": False}) == set()
        assert features(clears(FAST), self.STEP, assumed={"FAST": True, "SLOW": False}) == {FAST}
