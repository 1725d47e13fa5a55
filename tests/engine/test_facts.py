"""Facts: what each may be, what it is kept as, and the message for everything else."""

from __future__ import annotations

from typing import Any

import pytest

from pvspec.engine.errors import BindError
from pvspec.engine.facts import Facts, is_number, protected_names, symbol_names
from pvspec.engine.spec import (
    Architecture,
    Backend,
    Bug,
    Cpu,
    Family,
    Field,
    Interface,
    Layout,
    Names,
    Rom,
    Spec,
    Target,
)
from pvspec.engine.value import Map

ANSWER = Layout("", 5, (Field("eip", 0, 32), Field("type", 32, 8)))
NUMBERS: dict[tuple[bool, ...], Map[int, str]] = {(False,): Map({0: "first"}), (True,): Map({0: "first", 4: "last"})}


def spec(bits: int = 64) -> Spec:
    machine = Architecture("pc", bits, {"FAST": 3, "DECISION": -1}, frozenset(), {"k8": (b"\x90",)}, (("k8", None),))
    interface = Interface(
        "pv",
        None,
        255,
        {},
        NUMBERS,
        names=Names({"wide": False}, frozenset({"of_interface"}), frozenset({"poke_interface"})),
        functions="pv_ops",
    )
    xen = Backend(
        "xen",
        {},
        (),
        Names({"dom0": True}, frozenset({"of_backend"}), frozenset({"poke_backend"})),
        {"relocation": Rom(ANSWER, {}, (Bug("a.pvs:1"),))},
        (Target(("first",), "xen_ops", table=True), Target(("last",), "xen_last")),
    )
    layout = Layout(".sites", 8, (Field("site", 0, 64),))
    names = Names({"lazy": True}, frozenset({"of_family"}), frozenset({"poke_family"}))
    family = Family("locks", layout, (), names=names)
    backends = {"native": Backend("native", {}, ()), "xen": xen}
    return Spec(machine, interface, backends, {"locks": family}, (), (), probes=frozenset({"probe"}))


SPEC = spec()
CPU = "Cpu(vendor, family, model, stepping, microcode, threads)"


def facts(backend: str | None = "xen", **bound: Any) -> Facts:
    return Facts(SPEC, backend, **bound)


def asked(argument: int) -> int:
    return argument


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("targets", {0: 0}, {0: 0}),
        ("targets", {0: 2**64 - 1}, {0: 2**64 - 1}),
        ("targets", None, {}),
        ("settled", True, True),
        ("tables", {"xen_ops": {0: 5}}, {"xen_ops": {0: 5}}),
        ("symbols", {"probe": 1, "pv_ops": 2}, {"probe": 1, "pv_ops": 2}),
        ("symbols", {"of_interface": 1, "of_backend": 2, "of_family": 3}, None),
        ("options", {"wide": True}, {"lazy": True, "wide": True, "dom0": True}),
        ("options", {"lazy": False, "dom0": False}, {"lazy": False, "wide": False, "dom0": False}),
        ("options", None, {"lazy": True, "wide": False, "dom0": True}),
        ("nops", "k8", "k8"),
        ("nops", None, None),
        ("rom", {"relocation": asked}, None),
        ("features", ["FAST", -1, 0, 65535], frozenset({3, -1, 0, 65535})),
        ("features", iter(["FAST"]), frozenset({3})),
        ("cpu", ("AuthenticAMD", 0, 0, 0, None, 2), Cpu("AuthenticAMD", 0, 0, 0, threads=2)),
        ("cpus", 1, 1),
        ("cpus", None, None),
        ("cmdline", "quiet", "quiet"),
        ("vulnerabilities", {"retbleed": "Vulnerable"}, {"retbleed": "Vulnerable"}),
        ("protect", {"poke_family": (2**64 - 1, 2**64)}, None),
        ("protect", {"poke_interface": (0, 1), "poke_backend": (5, 9)}, None),
    ],
)
def test_what_a_fact_may_be(name: str, given: Any, kept: Any) -> None:
    found = getattr(facts(**{name: given}), name)
    assert found == (given if kept is None and given is not None else kept)
    assert type(found) is not dict


def test_only_the_bound_backend_has_its_options_and_roms() -> None:
    assert facts("native").options == facts(None).options == {"lazy": True, "wide": False}
    with pytest.raises(BindError, match="there is no option 'dom0'; there are: lazy, wide"):
        facts("native", options={"dom0": True})
    for backend in ("native", None):
        with pytest.raises(BindError, match="there is no rom 'relocation'; there are: none"):
            facts(backend, rom={"relocation": asked})


def test_ops_are_those_of_the_options() -> None:
    assert facts(options={"wide": True}, targets={4: 1}).targets == {4: 1}
    with pytest.raises(BindError, match=r"^targets: there is no op with the number 4$"):
        facts(targets={4: 1})
    assert facts(options={"wide": True}, tables={"xen_ops": {4: 1}}).tables == {"xen_ops": {4: 1}}


def test_a_spec_without_an_interface_has_no_ops() -> None:
    alone = SPEC.changed(interface=None, backends={})
    assert symbol_names(alone) == {"of_family", "probe"}
    with pytest.raises(BindError, match="targets: there is no op with the number 0"):
        Facts(alone, targets={0: 1})


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"backend": "kvm"}, "there is no backend 'kvm'; there are: native, xen"),
        ({"backend": ["xen"]}, "there is no backend ['xen']; there are: native, xen"),
        ({"targets": [0]}, "targets is [0]: it must be a mapping"),
        ({"targets": {False: 1}}, "targets: there is no op with the number False"),
        ({"targets": {0: 2**64}}, "the target of op 0 is bound to 0x10000000000000000, which is not a 64-bit address"),
        ({"targets": {0: "start"}}, "the target of op 0 is bound to 'start', which is not an address"),
        ({"targets": {0: True}}, "the target of op 0 is bound to True, which is not an address"),
        ({"settled": 1}, "settled is 1: it must be True or False"),
        ({"tables": 5}, "tables is 5: it must be a mapping"),
        ({"tables": {"xen_last": {}}}, "there is no table of functions 'xen_last'; there are: xen_ops"),
        ({"tables": {"xen_ops": {7: 5}}}, "tables['xen_ops']: there is no op with the number 7"),
        (
            {"tables": {"xen_ops": {0: -1}}},
            "xen_ops: the target of op 0 is bound to -0x1, which is not a 64-bit address",
        ),
        ({"symbols": [("probe", 1)]}, "symbols is [('probe', 1)]: it must be a mapping"),
        (
            {"symbols": {"other": 1}},
            "the spec does not use the symbol 'other'; there are: of_backend, of_family, of_interface, probe, pv_ops",
        ),
        ({"symbols": {"probe": -1}}, "symbol probe is bound to -0x1, which is not a 64-bit address"),
        ({"options": {"smp": True}}, "there is no option 'smp'; there are: dom0, lazy, wide"),
        ({"options": {"wide": 1}}, "option wide is 1: it must be True or False"),
        ({"nops": "p6"}, "there is no nop table 'p6'; there are: k8"),
        ({"rom": {"memory": asked}}, "there is no rom 'memory'; there are: relocation"),
        ({"rom": {"relocation": 5}}, "rom relocation is bound to 5: it must be a function of the argument"),
        ({"features": "FAST"}, "features are 'FAST': they must be a list of names or numbers"),
        ({"features": 3}, "features are 3: they must be a list of names or numbers"),
        ({"features": ["SLOW"]}, "there is no feature 'SLOW'; there are: DECISION, FAST"),
        ({"features": [1.5]}, "there is no feature 1.5: a feature is a name or a number"),
        ({"features": [True]}, "there is no feature True: a feature is a name or a number"),
        ({"features": [65536]}, "there is no feature with the number 65536"),
        ({"features": [-2]}, "there is no feature with the number -2"),
        ({"cpu": "GenuineIntel"}, f"cpu is 'GenuineIntel': it must be {CPU}"),
        ({"cpu": "four"}, f"cpu is 'four': it must be {CPU}"),
        ({"cpu": ("x", 1, 2)}, f"cpu is ('x', 1, 2): it must be {CPU}"),
        ({"cpu": Cpu("x", 1, 2, 3, -1)}, "the cpu's microcode is -1: it must be a whole number, 0 or more"),
        ({"cpu": Cpu("x", 1, 2, 3, 1, 0)}, "the cpu's threads is 0: it must be a whole number, 1 or more"),
        ({"assumed": [3]}, "assumed is [3]: it must be a mapping"),
        ({"assumed": {99999: True}}, "there is no feature with the number 99999"),
        ({"config": {"ITS": True}}, "there is no config 'ITS'; there are: none"),
        ({"cpu": (5, 1, 2, 3, None, None)}, "the cpu's vendor is 5: it must be a text"),
        ({"cpu": ("x", -1, 2, 3, None, None)}, "the cpu's family is -1: it must be a whole number, 0 or more"),
        ({"cpu": ("x", 1, True, 3, None, None)}, "the cpu's model is True: it must be a whole number, 0 or more"),
        ({"cpu": ("x", 1, 2, "3", None, None)}, "the cpu's stepping is '3': it must be a whole number, 0 or more"),
        ({"cpus": 0}, "cpus is 0: it must be a whole number, 1 or more"),
        ({"cpus": "2"}, "cpus is '2': it must be a whole number, 1 or more"),
        ({"cmdline": b"quiet"}, "cmdline is b'quiet': it must be a text"),
        ({"cmdline": None}, "cmdline is None: it must be a text"),
        ({"vulnerabilities": "x"}, "vulnerabilities is 'x': it must be a mapping"),
        ({"vulnerabilities": {5: "x"}}, "a vulnerability is 5: it must be a text"),
        ({"vulnerabilities": {"retbleed": None}}, "vulnerability retbleed is None: it must be a text"),
        ({"protect": 5}, "protect is 5: it must be a mapping"),
        (
            {"protect": {"memcpy": (1, 2)}},
            "there is no protected function 'memcpy'; there are: poke_backend, poke_family, poke_interface",
        ),
        (
            {"protect": {"poke_family": 5}},
            "protected function poke_family is 5: it must be (start, end), two addresses",
        ),
        (
            {"protect": {"poke_family": (1, 2, 3)}},
            "protected function poke_family is (1, 2, 3): it must be (start, end), two addresses",
        ),
        (
            {"protect": {"poke_family": (-1, 2)}},
            "the start of poke_family is bound to -0x1, which is not a 64-bit address",
        ),
        ({"protect": {"poke_family": (1, "2")}}, "the end of poke_family is bound to '2', which is not an address"),
        (
            {"protect": {"poke_family": (1, 2**64 + 1)}},
            "the end of poke_family is bound to 0x10000000000000001, which is not a 64-bit address",
        ),
        (
            {"protect": {"poke_family": (2**63, 2**63)}},
            "protected function poke_family is from 0x8000000000000000 to 0x8000000000000000, which holds no byte: "
            "it must be (start, end), not (start, size)",
        ),
    ],
)  # fmt: skip
def test_what_a_fact_cannot_be(bound: dict[str, Any], message: str) -> None:
    with pytest.raises(BindError) as error:
        facts(**bound)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (12, "f00, f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11"),
        (13, "f00, f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11, …"),
    ],
)
def test_a_message_names_a_dozen(count: int, shown: str) -> None:
    known = {f"f{number:02}": number for number in range(count)}
    many = SPEC.changed(machine=SPEC.machine.changed(features=known))
    with pytest.raises(BindError) as error:
        Facts(many, features=["SLOW"])
    assert str(error.value) == f"there is no feature 'SLOW'; there are: {shown}"


def test_addresses_are_as_wide_as_the_machines() -> None:
    for bits in (32, 64):
        for address in (2**bits - 1, 2 ** (bits - 1)):
            assert Facts(spec(bits), symbols={"probe": address}).symbols == {"probe": address}
        with pytest.raises(BindError, match=f"not a {bits}-bit address"):
            Facts(spec(bits), symbols={"probe": 2**bits})


def test_every_part_may_ask_for_symbols_and_protected_functions() -> None:
    assert symbol_names(SPEC) == {"of_backend", "of_family", "of_interface", "probe", "pv_ops"}
    assert protected_names(SPEC) == {"poke_backend", "poke_family", "poke_interface"}


def test_truths_are_no_numbers() -> None:
    assert is_number(0)
    assert not is_number(True)
    assert not is_number(1.0)


def test_facts_are_values() -> None:
    bound: dict[str, Any] = {"options": {"wide": True}, "symbols": {"probe": 1}, "features": [3]}
    assert facts(**bound) == facts(**bound)
    assert hash(facts(**bound)) == hash(facts(**bound))
    assert facts(**bound) != facts()
    assert isinstance(facts(**bound).symbols, Map)
