"""What guards hold of a bound kernel, what its policy decides, and what its hypervisor leaves in the table of ops."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.engine.apply import Kernel
from pvspec.engine.command_line import CommandLine, Parameter, Variable
from pvspec.engine.errors import BindError, PatchError
from pvspec.engine.facts import Facts
from pvspec.engine.guards import (
    AllOf,
    AnyOf,
    BackendIs,
    Begins,
    Branches,
    CpuHas,
    CpuHasField,
    CpuNumber,
    Cpus,
    CpuVendor,
    Guard,
    HasBits,
    HasConfig,
    IsAddress,
    KernelHas,
    Nonzero,
    NopsAre,
    Not,
    OpNoreturn,
    OpTargetIs,
    OptionSet,
    TargetIs,
    VariableCompares,
    VariableIs,
    Vulnerability,
    Within,
)
from pvspec.engine.site import Site
from pvspec.engine.spec import Architecture, Backend, Cpu, Decide, Interface, Names, Spec, Target

INTEL = Cpu("GenuineIntel", 6, 85, 7)
FEATURES = {"FAST": 3, "SLOW": 4, "DECISION": -1, "BUG": 600}
SHOWN = {"fast": 3, "slow": 4, "bug buggy": 600}
COMPARE = {"==": operator.eq, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}

LINE = CommandLine(
    {"smp": Variable("yes", ("yes", "no")), "most": Variable(64)},
    (
        Parameter("early_param", "nosmp", "flag", sets=(("smp", "no"),)),
        Parameter("early_param", "maxcpus", "number", "most"),
        Parameter("find_option", "clearcpuid", "features"),
    ),
)
CONFIGS = {"ITS": KernelHas("its_thunk")}

SAID = {"vulnerabilities": {"spectre_v2": "Mitigation: x"}}


def spec(*policy: Decide, targets: tuple[Target, ...] = (), symbols: Iterable[str] = ()) -> Spec:
    machine = Architecture(
        "pc",
        64,
        FEATURES,
        frozenset(),
        {"k8": (b"\x90",), "p6": (b"\x90", b"\x66\x90")},
        (("p6", CpuHas(3)), ("k8", None)),
        SHOWN,
    )
    interface = Interface("pv", None, 255, {}, {(): {0: "first", 1: "second", 2: "third"}}, functions="pv_ops")
    backends = {"native": Backend("native", {}, ()), "xen": Backend("xen", {}, (), targets=targets)}
    return Spec(machine, interface, backends, {}, (), policy, LINE, CONFIGS, frozenset(symbols))


def kernel(*policy: Decide, backend: str = "xen", **bound: Any) -> Kernel:
    return Kernel(Facts(spec(*policy, symbols=bound.get("symbols", ())), backend, **bound))


def a_site(**told: Any) -> Site:
    """A site that tells this: the names of its own attributes, all others are fields."""
    site = Site({name: value for name, value in told.items() if name not in Site.__slots__})
    for name in told.keys() & set(Site.__slots__):
        setattr(site, name, told[name])
    return site


def holds(guard: Guard, site: dict[str, Any] | None = None, **bound: Any) -> bool:
    return kernel(**bound).holds(guard, a_site(**(site or {})))


@pytest.mark.parametrize(
    ("guard", "bound", "expected"),
    [
        (CpuHas(3), {"features": ["FAST"]}, True),
        (CpuHas(3), {"features": [4]}, False),
        (CpuVendor("GenuineIntel"), {"cpu": INTEL}, True),
        (CpuVendor("AuthenticAMD"), {"cpu": INTEL}, False),
        (VariableIs("smp", "no"), {"cmdline": "quiet nosmp"}, True),
        (VariableIs("smp", "no"), {"cmdline": "quiet"}, False),
        (VariableCompares("most", "<=", 1), {"cmdline": "maxcpus=0x1"}, True),
        (VariableCompares("most", "<=", 1), {}, False),
        (HasConfig("ITS"), {"symbols": {"its_thunk": 5}}, True),
        (HasConfig("ITS"), {"symbols": {"its": 5}}, False),
        (HasConfig("ITS"), {"symbols": {"its_thunk": 5}, "config": {"ITS": False}}, False),
        (HasConfig("ITS"), {"config": {"ITS": True}}, True),
        (BackendIs("xen"), {}, True),
        (BackendIs("xen"), {"backend": "native"}, False),
        (NopsAre("k8"), {}, True),
        (NopsAre("k8"), {"features": ["FAST"]}, False),
        (NopsAre("k8"), {"features": ["FAST"], "nops": "k8"}, True),
        (KernelHas("its_thunk"), {"symbols": {"its_thunk": 5}}, True),
        (KernelHas("its_thunk"), {"symbols": {"its": 5}}, False),
        (Vulnerability("spectre_v2", "starts", "Mitigation"), SAID, True),
        (Vulnerability("spectre_v2", "starts", "x"), SAID, False),
        (Vulnerability("spectre_v2", "contains", "x"), SAID, True),
        (Vulnerability("spectre_v2", "contains", "x"), {"vulnerabilities": {"retbleed": "x"}}, False),
        (OpTargetIs("second", None), {"targets": {1: 0}}, True),
        (OpTargetIs("second", None), {"targets": {1: 9, 0: 0}}, False),
        (OpTargetIs("second", "nop"), {"targets": {1: 9}, "symbols": {"nop": 9}}, True),
    ],
)  # fmt: skip
def test_what_is_bound_decides(guard: Guard, bound: dict[str, Any], expected: bool) -> None:
    condition = kernel(**bound).condition(guard)
    assert condition is expected  # without a look at any site
    assert holds(Not(guard), **bound) is not expected
    assert holds(AnyOf((guard, guard)), **bound) is expected
    assert holds(AllOf((guard, guard)), **bound) is expected


@given(
    st.sampled_from([*COMPARE]),
    st.integers(0, 20),
    st.sampled_from(["family", "model", "stepping", "microcode", "threads"]),
    st.integers(0, 20),
)
def test_numbers_of_the_cpu(compare: str, bound: int, what: str, asked: int) -> None:
    number = bound + (what == "threads")  # a core has one
    cpu = Cpu("GenuineIntel", **{"family": 99, "model": 99, "stepping": 99, what: number})
    assert holds(CpuNumber(what, compare, asked), cpu=cpu) == COMPARE[compare](number, asked)
    assert holds(Cpus(compare, asked), cpus=bound + 1) == COMPARE[compare](bound + 1, asked)


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        (CpuVendor("GenuineIntel"), "the cpu's vendor and numbers are not bound"),
        (CpuNumber("model", "==", 5), "the cpu's vendor and numbers are not bound"),
        (CpuNumber("threads", "==", 1), "the cpu's vendor and numbers are not bound"),
        (Cpus(">", 1), "the number of cpus is not bound"),
        (OpTargetIs("second", None), "the target of op second (1) is not bound"),
        (IsAddress("function", "nobody"), "symbol nobody is not bound"),
        (Within("function", "nobody", "nobody"), "symbol nobody is not bound"),
        (Within("function", "start", "nobody"), "symbol nobody is not bound"),
        (Within("function", "nobody", "start"), "symbol nobody is not bound"),
        (Branches(False, 0xE8, "nobody"), "symbol nobody is not bound"),
    ],
)
def test_what_is_missing_is_missed_when_asked(guard: Guard, message: str) -> None:
    of = kernel(symbols={"start": 0})
    condition = of.condition(guard)
    assert not isinstance(condition, bool)
    with pytest.raises(BindError) as error:
        condition(a_site(function=1, branch=(False, 0xE8, 5)))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("guard", "site", "expected"),
    [
        (Nonzero("len"), {"len": 1}, True),
        (Nonzero("len"), {"len": 0}, False),
        (CpuHasField("cpuid"), {"cpuid": 3}, True),
        (CpuHasField("cpuid"), {"cpuid": 4}, False),
        (HasBits("site", 0, 0x20), {"site": 0x1020}, True),
        (HasBits("site", 0, 0x20), {"site": 0x1010}, False),
        (HasBits("site", 1, 0x20), {"site": 0x101F}, True),
        (HasBits("site", 0, 0x30), {"site": 0x1010}, True),
        (IsAddress("function", None), {"function": 0}, True),
        (IsAddress("function", None), {"function": 1}, False),
        (IsAddress("function", "start"), {"function": 0x1000}, True),
        (IsAddress("function", "start"), {"function": 0x1001}, False),
        (Within("function", "start", "end"), {"function": 0x1000}, True),
        (Within("function", "start", "end"), {"function": 0x1FFF}, True),
        (Within("function", "start", "end"), {"function": 0x2000}, False),
        (Within("function", "start", "end"), {"function": 0xFFF}, False),
        (Branches(False, 0xE8, "start"), {"branch": (False, 0xE8, 0x1000)}, True),
        (Branches(False, 0xE8, "start"), {"branch": (True, 0xE8, 0x1000)}, False),
        (Branches(True, 0xE8, "start"), {"branch": (True, 0xE8, 0x1000)}, True),
        (Branches(False, 0xE9, "start"), {"branch": (False, 0xE8, 0x1000)}, False),
        (Branches(False, 0xE8, "start"), {"branch": (False, 0xE8, 0x1001)}, False),
        (Begins("site", 0, b"\x90\x50"), {"code": b"\x90\x50\x50"}, True),
        (Begins("site", 0, b"\x90\x50"), {"code": b"\x90"}, False),
        (TargetIs("start"), {"op_number": 1}, True),
        (TargetIs(None), {"op_number": 1}, False),
        (TargetIs(None), {"op_number": 2}, True),
        (OpNoreturn(), {"op_name": "second"}, False),
    ],
)
def test_sites_decide(guard: Guard, site: dict[str, Any], expected: bool) -> None:
    of = kernel(features=["FAST"], symbols={"start": 0x1000, "end": 0x2000}, targets={1: 0x1000, 2: 0})
    assert of.holds(guard, a_site(**site)) is expected
    never, always = VariableIs("smp", "no"), VariableIs("smp", "yes")
    assert of.holds(AnyOf((never, guard)), a_site(**site)) is expected
    assert of.holds(AllOf((always, guard)), a_site(**site)) is expected
    assert of.holds(AnyOf((always, guard)), Site()) is True
    assert of.holds(AllOf((never, guard)), Site()) is False
    assert of.holds(Not(Not(guard)), a_site(**site)) is expected


def test_begins_behind_an_address_asks_the_text() -> None:
    memory = {(0xFF7, 4): b"\x65\x48\xc1\x3d", (2**64 - 8, 1): b"\xcc"}
    peek = {"peek": lambda address, size: memory[address, size]}
    assert holds(Begins("function", -9, b"\x65\x48\xc1\x3d"), {"function": 0x1000, **peek})
    assert not holds(Begins("function", -9, b"\x65\x48\xc1\x3e"), {"function": 0x1000, **peek})
    assert holds(Begins("function", -9, b"\xcc"), {"function": 1, **peek})  # addresses wrap


@given(st.lists(st.booleans(), max_size=4), st.lists(st.booleans(), max_size=4))
def test_any_and_all(decided: list[bool], asked: list[bool]) -> None:
    """Whatever part is decided beforehand, and whatever by the site."""
    parts: list[Guard] = [VariableIs("smp", "no" if value else "yes") for value in decided]
    parts += [Nonzero(f"f{number}") for number in range(len(asked))]
    site = {f"f{number}": int(value) for number, value in enumerate(asked)}
    of, values = kernel(cmdline="nosmp"), [*decided, *asked]
    for kind, expected in (AnyOf, any(values)), (AllOf, all(values)):
        assert of.holds(kind(tuple(parts)), a_site(**site)) is expected
        if not asked:
            assert of.condition(kind(tuple(parts))) is expected


def test_options() -> None:
    """As given, else by default; an interface's ops are numbered by them."""
    interface = Interface(
        "pv", None, 255, {}, {(False,): {0: "first"}, (True,): {5: "first"}}, names=Names({"wide": False})
    )
    asks = spec().changed(interface=interface)
    narrow, wide = Kernel(Facts(asks)), Kernel(Facts(asks, options={"wide": True}))
    assert [of.decides(OptionSet("wide")) for of in (narrow, wide)] == [False, True]
    assert [of.op_name(number) for of in (narrow, wide) for number in (0, 5)] == ["first", None, None, "first"]


def test_pickled() -> None:
    """By its facts: what it decided is decided again, by a kernel of the same class."""
    of = kernel(features=["FAST"], symbols={"start": 0x1000})
    copy = pickle.loads(pickle.dumps(of))
    assert (type(copy), copy.facts, copy.features, copy.nops) == (Kernel, of.facts, of.features, of.nops)


def test_protected_functions() -> None:
    asks = Names(protects=frozenset({"memcpy", "poke"}))
    both = spec().changed(interface=Interface("pv", None, 255, {}, {(): {}}, names=asks))
    extents = {"poke": (5, 9), "memcpy": (1, 2)}
    assert Kernel(Facts(both, protect=extents)).protected(asks) == extents
    assert Kernel(Facts(both, protect=extents)).protected(Names(protects=frozenset({"poke"}))) == {"poke": (5, 9)}
    with pytest.raises(BindError, match="protected function memcpy is not bound; the poke runs it"):
        Kernel(Facts(both, protect={"poke": (5, 9)})).protected(asks)


def test_what_every_cpu_has() -> None:
    asks = spec()
    always = asks.changed(machine=asks.machine.changed(always=frozenset({4})))
    assert Kernel(Facts(always, features=["FAST"])).features == {3, 4}


def test_the_nops_are_those_of_the_chosen_table() -> None:
    p6 = kernel(features=["FAST"])
    assert (p6.nops_name, p6.nops) == ("p6", (b"\x90", b"\x66\x90"))


class TestTargets:
    TARGETS = (
        Target(("first", "second"), "xen_first"),
        Target(("second",), None, guard=CpuHas(3)),
        Target(("third",), "xen_cpu_ops", table=True),
    )
    SYMBOLS = {"xen_first": 0x5000}  # noqa: RUF012 - nobody changes it
    TABLES = {"xen_cpu_ops": {0: 0x6000, 2: 0x7000}}  # noqa: RUF012

    def targets(self, **bound: Any) -> list[int]:
        given: dict[str, Any] = {"targets": {0: 1, 1: 2, 2: 3}, "symbols": self.SYMBOLS, "tables": self.TABLES, **bound}
        of = Kernel(Facts(spec(targets=self.TARGETS, symbols=("xen_first",)), given.pop("backend", "xen"), **given))
        return [of.target(number) for number in range(3)]

    def test_the_hypervisor_replaces_the_images(self) -> None:
        assert self.targets() == [0x5000, 0x5000, 0x7000]
        assert self.targets(backend="native") == [1, 2, 3]

    def test_the_last_one_that_holds_counts(self) -> None:
        assert self.targets(features=["FAST"]) == [0x5000, 0, 0x7000]

    def test_a_dumps_table_is_settled(self) -> None:
        assert self.targets(settled=True) == [1, 2, 3]

    @pytest.mark.parametrize("tables", [{}, {"xen_cpu_ops": {1: 5}}])
    def test_a_table_without_the_op(self, tables: dict[str, dict[int, int]]) -> None:
        with pytest.raises(BindError, match="the table xen_cpu_ops is not bound, or has no op third"):
            self.targets(tables=tables)

    def test_a_symbol_that_is_not_bound(self) -> None:
        with pytest.raises(BindError, match="symbol xen_first is not bound"):
            self.targets(symbols={})


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"features": ["SSE9"]}, "there is no feature 'SSE9'; there are: BUG, DECISION, FAST, SLOW"),
        ({"assumed": {"SSE9": True}}, "there is no feature 'SSE9'; there are: BUG, DECISION, FAST, SLOW"),
        ({"assumed": {"FAST": 1}}, "feature FAST is 1: it must be True or False"),
        ({"config": {"IST": True}}, "there is no config 'IST'; there are: ITS"),
        ({"config": {"ITS": 1}}, "config ITS is 1: it must be True or False"),
        ({"nops": "p7"}, "there is no nop table 'p7'; there are: k8, p6"),
        ({"backend": "kvm"}, "there is no backend 'kvm'; there are: native, xen"),
        ({"options": {"smp": True}}, "there is no option 'smp'; there are: none"),
        ({"symbols": {"far": 1 << 64}}, "symbol far is bound to 0x10000000000000000, which is not a 64-bit address"),
        ({"targets": {2: -1}}, "the target of op 2 is bound to -0x1, which is not a 64-bit address"),
    ],
)
def test_what_the_spec_does_not_know(bound: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchError) as error:
        Kernel(Facts(spec(symbols=("far",)), **{"backend": "xen", **bound}))
    assert str(error.value) == message
