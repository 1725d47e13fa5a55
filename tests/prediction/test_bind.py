"""What binding takes from where: a made-up image, its tables, the functions of its ops, and the machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pvspec.engine.errors import PatchError, StateError
from pvspec.engine.records import build_records, parse_records
from pvspec.engine.spec import (
    Architecture,
    Backend,
    Cpu,
    Decide,
    Decision,
    Family,
    Field,
    Interface,
    Keep,
    Layout,
    Names,
    Slot,
    Spec,
    Target,
)
from pvspec.kernel import ImageError
from pvspec.kernel.image.image import Unresolved
from pvspec.kernel.work import MAX_WORK, Work
from pvspec.prediction.bind import Memory, bind
from pvspec.prediction.cpu import Processor
from pvspec.prediction.machine import Machine, PredictionError

BASE = 0x1000
TABLE = Layout(".para", 8, (Field("addr", 0, 32), Field("type", 32, 8), Field("len", 40, 8)))
SITES = Layout(".sites", 4, (Field("site", 0, 32),))
PLACED = SITES.changed(section="__start .. __stop", bounds=("__start", "__stop"))
PADDED = PLACED.changed(padded=True)
KEEP = (Keep("a.pvs:1"),)


class Symbols(dict[str, int]):
    """The symbols of an image."""

    def __iter__(self) -> Any:
        return iter([SimpleNamespace(name=name, address=address) for name, address in self.items()])

    def address(self, name: str) -> int | None:
        return self.get(name)

    def extent(self, name: str) -> tuple[int, int] | None:
        return (self[name], self[name] + 8) if name in self else None


def image(symbols: dict[str, int] | None = None, sections: dict[str, bytes] | None = None, **changed: Any) -> Any:
    """An image of 0x100 bytes, whose words count from 1; sections are at its start."""
    memory = b"".join(number.to_bytes(4, "little") for number in range(1, 0x41))
    own = changed.pop("memory", memory)
    base = changed.get("base", BASE)

    def read(address: int, size: int) -> bytes:
        if not base <= address <= address + size <= base + len(own):
            raise ImageError(f"nothing is at {address:#x}")
        return bytes(own[address - base : address - base + size])

    found = Symbols(symbols or {})
    contents = sections or {}
    made = {
        name: SimpleNamespace(name=name, address=base, end=base + len(data), allocated=True)
        for name, data in contents.items()
    }
    told: dict[str, Any] = {
        "name": "vmlinux", "kind": "kernel", "bits": 32, "machine": "i386", "release": "2.6.23", "base": base,
        "end": base + len(own), "memory": own, "sections": made, "executable": (), "kernel": None, "unresolved": (),
        "slide": 0, "work": Work(), "units": 0,
        "symbols": found, "resolve": found.get, "read": read, "section_bytes": lambda name: contents[name],
    }  # fmt: skip
    return SimpleNamespace(**{**told, **changed})


def spec(*families: Family, layout: Layout | None = None, targets: tuple[Target, ...] = (), **changed: Any) -> Spec:
    machine = Architecture(
        "pc",
        32,
        {"FAST": 3, "SLOW": 4},
        frozenset(),
        {"k8": (b"\x90",), "p6": (b"\x90",)},
        (("k8", None),),
        {"fast": 3},
    )
    interface = Interface(
        "pv",
        layout,
        255,
        {},
        {(False,): {0: "first", 1: "second"}, (True,): {2: "first"}},
        names=Names({"wide": False}, protects=frozenset({"poke"})),
        slots=(Slot(b"\xff\x15", 4),),
        functions="pv_ops",
    )
    backends = {"native": Backend("native", {}, ()), "xen": Backend("xen", {}, (), targets=targets)}
    named = {family.name: family for family in families}
    return Spec(machine, interface, backends, named, (*named, "pv")).changed(**changed)


def family(layout: Layout) -> Family:
    return Family("f", layout, KEEP, length=1)


def facts(of: Any, asks: Spec | None = None, dump: Any = None, **machine: Any) -> Any:
    return bind(asks or spec(), of, Machine(**machine), dump).kernel.facts


def refused(of: Any, asks: Spec | None = None, **machine: Any) -> str:
    with pytest.raises(PredictionError) as error:
        bind(asks or spec(), of, Machine(**machine))
    return str(error.value)


class TestFunctions:
    def test_the_table_of_ops_is_at_its_symbol(self) -> None:
        assert facts(image({"pv_ops": BASE + 8})).targets == {0: 3, 1: 4}
        assert facts(image({"pv_ops": BASE + 8}), options={"wide": True}).targets == {2: 5}
        assert facts(image()).targets == {}

    def test_only_ops_in_the_image_have_one(self) -> None:
        assert facts(image({"pv_ops": BASE + 0xFC})).targets == {0: 64}
        assert facts(image({"pv_ops": BASE + 0xF8})).targets == {0: 63, 1: 64}
        assert facts(image({"pv_ops": BASE - 4})).targets == {1: 1}

    def test_a_dump_has_them_as_they_are(self) -> None:
        dump = image(memory=bytes(0x100))
        found = facts(image({"pv_ops": BASE + 8}), dump=dump)
        assert (found.targets, found.settled) == ({0: 0, 1: 0}, True)
        assert not facts(image({"pv_ops": BASE + 8})).settled

    def test_other_tables_are_the_images(self) -> None:
        targets = Target(("first",), "xen_ops", table=True), Target(("second",), "xen_second")
        of = image({"xen_ops": BASE, "xen_second": BASE})
        for dump in (None, image(memory=bytes(0x100))):
            assert facts(of, spec(targets=targets), dump).tables == {"xen_ops": {0: 1, 1: 2}}
        assert facts(image(), spec(targets=targets)).tables == {}

    def test_a_module_calls_its_kernels(self) -> None:
        kernel = image({"pv_ops": BASE + 8, "poke": BASE})
        module = image({"pv_ops": 0x8000, "poke": 0x8000}, base=0x8000, memory=bytes(16), kernel=kernel)
        found = facts(module)
        assert found.targets == {0: 3, 1: 4}
        assert found.protect == {"poke": (BASE, BASE + 8)}

    def test_without_a_symbol_the_sites_say_where(self) -> None:
        code = bytes.fromhex("ff 15 0c 10 00 00").ljust(0x100, b"\1")
        table = build_records(TABLE, [{"addr": BASE, "type": 1, "len": 6}])
        of = image(sections={".para": table}, memory=code)
        assert facts(of, spec(layout=TABLE)).targets.keys() == {0, 1}
        named = image({"pv_ops": BASE + 0xFC}, {".para": table}, memory=code)
        assert facts(named, spec(layout=TABLE)).targets == {0: 0x01010101}
        assert facts(image(), spec(layout=TABLE)).targets == {}
        lost = build_records(TABLE, [{"addr": 0x9000, "type": 1, "len": 6}])
        message = refused(image(sections={".para": lost}), spec(layout=TABLE))
        assert message == ".para: a site is not where the image is: nothing is at 0x9000"

    @pytest.mark.parametrize(("at", "waits"), [(0xFFF, False), (0x1000, True), (0x1005, True), (0x1006, False)])
    def test_a_site_that_waits_for_a_symbol(self, at: int, waits: bool) -> None:
        table = build_records(TABLE, [{"addr": BASE, "type": 1, "len": 6}])
        of = image(sections={".para": table}, unresolved=[Unresolved(at, 4, "pv_ops")])
        if waits:
            message = refused(of, spec(layout=TABLE))
            assert message == (
                "vmlinux: site 0x1000 of .para waits for the symbol pv_ops; "
                "name the kernel that loads this module with --vmlinux"
            )
        else:
            assert facts(of, spec(layout=TABLE)).targets == {}


class TestTables:
    def table(self, layout: Layout, of: Any) -> Any:
        return bind(spec(family(layout)), of, Machine()).tables.get("f")

    def test_a_section(self) -> None:
        assert self.table(SITES, image(sections={".sites": b"\1\2\3\4"})) == (b"\1\2\3\4", BASE)
        assert self.table(SITES, image()) is None

    def test_between_symbols(self) -> None:
        of = image({"__start": BASE + 4, "__stop": BASE + 12})
        assert self.table(PLACED, of) == (b"\2\0\0\0\3\0\0\0", BASE + 4)
        assert self.table(PLACED, image({"__start": BASE})) is self.table(PLACED, image({"__stop": BASE})) is None

    def test_padding_that_has_moved_is_undone(self) -> None:
        of = image({"__start": BASE, "__stop": BASE + 12}, slide=2)
        assert self.table(PADDED, of) == (b"\1\0\0\0\0\0\0\0\3\0\0\0", BASE)
        assert self.table(PLACED, of) == (b"\1\0\0\0\2\0\0\0\3\0\0\0", BASE)
        assert bind(spec(family(PADDED)), of, Machine()).records("f") == 2
        assert bind(spec(family(PLACED)), of, Machine()).records("f") == 3

    def test_a_record_that_is_cut_short_counts(self) -> None:
        assert bind(spec(family(SITES)), image(sections={".sites": bytes(9)}), Machine()).records("f") == 3

    @pytest.mark.parametrize(
        ("pattern", "other", "symbols", "found"),
        [
            (
                "a_*_z",
                "key_*",
                {"a_1_z": 1, "key_1": 5, "a_2_z": 2, "b_1_z": 3, "a_1_y": 4, "a_z": 9},
                [(1, 5), (2, 0)],
            ),
            ("a_*", "key", {"a_1": 1, "xa_1": 2, "key": 7}, [(1, 7)]),
            ("only", "key", {"only": 1, "only_1": 2, "key": 7}, [(1, 7)]),
            ("only", "key", {"key": 7}, None),
            ("a_*", "key", {"key": 7}, None),
        ],
    )
    def test_by_patterns(
        self, pattern: str, other: str, symbols: dict[str, int], found: list[tuple[int, int]] | None
    ) -> None:
        fields = (Field("site", 0, 32), Field("key", 32, 32))
        layout = Layout(pattern, 8, fields, patterns={"site": pattern, "key": other})
        records = None if found is None else [{"site": site, "key": key} for site, key in found]
        expected = None if records is None else (build_records(layout, records), 0)
        assert self.table(layout, image(symbols)) == expected

    def test_why_there_is_none(self) -> None:
        patterns = SITES.changed(section="a_*", patterns={"site": "a_*"})
        for layout, why in (
            (SITES, "the image has no section .sites"),
            (PLACED, "no symbols __start .. __stop; --symbols System.map may have them"),
            (patterns, "the image has no symbols a_*"),
        ):
            assert bind(spec(family(layout)), image(), Machine()).absence("f") == why


class TestMachine:
    def test_what_it_says_is_bound(self) -> None:
        cpu = Processor("x", 1, 2, 3, frozenset({"fast", "other"}), 4, {"a": "b"})
        found = facts(image(), cpu=cpu, cmdline="quiet", nops="p6", features=("SLOW",))
        assert (found.cpu, found.cpus, found.cmdline, found.nops) == (Cpu("x", 1, 2, 3), 4, "quiet", "p6")
        assert (found.features, found.assumed, found.vulnerabilities) == ({3}, {4: True}, {"a": "b"})
        assert facts(image(), cpu=cpu, lacking=("FAST",)).assumed == {3: False}
        assert facts(image(), cpu=cpu, cpus=1).cpus == 1
        assert facts(image(), options={"wide": True}).options == {"wide": True}

    def test_a_profiles_name_is_not_a_cpu(self) -> None:
        name: Any = "EPYC"
        with pytest.raises(PredictionError, match="cpu is 'EPYC': it must be what read_cpu or parse_cpuinfo returns"):
            facts(image(), cpu=name)

    def test_native_is_a_backend_where_there_are_any(self) -> None:
        alone = spec().changed(interface=None, backends={}, passes=())
        assert (facts(image()).backend, facts(image(), hypervisor="xen").backend) == ("native", "xen")
        assert facts(image(), alone).backend is None
        assert refused(image(), alone, hypervisor="xen") == "there is no backend 'xen'; there are: none"

    def test_a_policy_needs_a_cpu(self) -> None:
        policy = spec().changed(policy=(Decide("f", "a.c", (Decision("a.pvs:1", True, (3,)),)),))
        message = "no CPU given: use --cpu PROFILE or --cpu FILE (a /proc/cpuinfo), or --features"
        assert refused(image(), policy) == message
        assert facts(image(), policy, features=("SLOW",)).assumed == {4: True}

    def test_what_is_refused(self) -> None:
        assert refused(image(bits=64)) == "vmlinux: a 64-bit image, a 32-bit spec"
        for name in ("features", "lacking"):
            lacked: dict[str, Any] = {name: ("SSE9",)}
            assert refused(image(), **lacked) == "there is no feature 'SSE9'; there are: FAST, SLOW"
        much = image(sections={".sites": bytes(4 * (MAX_WORK // 36 + 1))})
        assert "would take more time than any kernel's" in refused(much, spec(family(SITES)))

    def test_symbols_and_protected_functions_are_the_images(self) -> None:
        found = facts(image({"probe": 5, "poke": 9, "other": 1}), spec(probes=frozenset({"probe", "none"})))
        assert found.symbols == {"probe": 5}
        assert found.protect == {"poke": (9, 17)}


class TestMemory:
    def test_whose_it_is(self) -> None:
        kernel, dump = image(memory=b"k" * 16), image(memory=b"d" * 16)
        module = image(base=0x8000, memory=b"m" * 16, kernel=kernel)
        assert Memory(kernel, None)(BASE, 1) == b"k"
        assert Memory(kernel, dump)(BASE, 1) == b"d"
        assert [Memory(module, of)(BASE, 1) for of in (None, dump)] == [b"k", b"d"]
        assert [Memory(module, of)(0x8000, 1) for of in (None, dump)] == [b"m", b"m"]
        with pytest.raises(StateError, match="nothing is at 0x8000"):
            Memory(kernel, dump)(0x8000, 1)


@pytest.mark.parametrize("table", [1 << 40, -1, "text", None])
def test_a_table_is_bytes(table: Any) -> None:
    """An int would be that many zeros."""
    with pytest.raises(PatchError, match=rf"^\.sites: a table is bytes, and this one {type(table).__name__}"):
        list(parse_records(SITES, table))
