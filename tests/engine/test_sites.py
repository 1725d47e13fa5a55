"""Where a family's sites lie, how long they are, what they read, and what their arms write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import BindError, PatchError, StateError
from pvspec.engine.guards import Begins, Branches, Compares, CpuHasField, Not, TargetIs
from pvspec.engine.records import build_records
from pvspec.engine.spec import Bug, Code, Copy, Family, Field, Hole, Interface, Keep, Layout, Read, Slot, Store
from tests.engine.samples import make_kernel, make_spec

BASE, TABLE = 0x1000, 0x5000
SITE_KEY = Layout(".calls", 8, (Field("site", 0, 32, True), Field("key", 32, 32)))
SITES = Layout(".sites", 4, (Field("site", 0, 32),))
CALLERS = Layout(".callers", 4, (Field("caller", 0, 32),))
State = Callable[[int, int], bytes]


def branch(opcode: str, symbol: str, addend: int = 0) -> Code:
    """A rel32 branch to what the record or a read names."""
    head = bytes.fromhex(opcode)
    hole = Hole(len(head), 4, symbol, addend, True, len(head) + 4, True)
    return Code("a.pvs:1", data=head + bytes(4), holes=(hole,))


def kernel(layout: Layout, *rule: Any, symbols: dict[str, int] | None = None, **family: Any) -> Kernel:
    made = Family("family", layout, rule, **family)
    return make_kernel(make_spec(families=[made]), symbols=symbols or {})


def image(**code: str) -> bytearray:
    """256 bytes of int3 from BASE on, with code at addresses named like `at_1010`."""
    text = bytearray(b"\xcc" * 256)
    for name, value in code.items():
        start, data = int(name.removeprefix("at_"), 16) - BASE, bytes.fromhex(value)
        text[start : start + len(data)] = data
    return text


def patched(of: Kernel, text: bytearray, *records: dict[str, int], state: State | None = None) -> dict[int, str]:
    """The pokes by address, in hexadecimal."""
    table = build_records(of.spec.families["family"].layout, records, TABLE)
    pokes: dict[int, str] = {}
    of.apply_passes(
        {"family": (table, TABLE)},
        text,
        BASE,
        order=["family"],
        state=state,
        poke=lambda address, data: pokes.update({address: data.hex(" ")}),
    )
    return pokes


FUNCTION: dict[str, Any] = {"length": 5, "reads": {"function": Read("key", 4, 4)}}


class TestReads:
    def test_the_text_itself_is_the_state(self) -> None:
        of = kernel(SITE_KEY, branch("e8", "function"), **FUNCTION)
        text = image(at_1084="00 20 00 00")
        assert patched(of, text, {"site": 0x1010, "key": 0x1080}) == {0x1010: "e8 eb 0f 00 00"}

    def test_a_state_is_asked_instead(self) -> None:
        of, asked = kernel(SITE_KEY, branch("e8", "function"), **FUNCTION), []

        def state(address: int, size: int) -> bytes:
            asked.append((address, size))
            return (0x3000).to_bytes(size, "little")

        assert patched(of, image(), {"site": 0x1010, "key": 0xC0000080}, state=state) == {0x1010: "e8 eb 1f 00 00"}
        assert asked == [(0xC0000084, 4)]

    def test_a_state_that_is_unknown(self) -> None:
        def state(address: int, size: int) -> bytes:
            raise StateError(f"{address:#x} is not in the dump")

        of = kernel(SITE_KEY, branch("e8", "function"), **FUNCTION)
        with pytest.raises(StateError, match=r"^family: record 0, site 0x1010: 0x1084 is not in the dump$"):
            patched(of, image(), {"site": 0x1010, "key": 0x1080}, state=state)

    @pytest.mark.parametrize(("signed", "holds"), [(True, True), (False, False)])
    def test_signed_and_not(self, signed: bool, holds: bool) -> None:
        rule = (Code("a.pvs:1", Compares("enabled", "<", 0), data=b"\xfa"),)
        of = kernel(SITE_KEY, *rule, length=1, reads={"enabled": Read("key", 0, 2, signed)})
        assert patched(of, image(at_1080="ff ff"), {"site": 0x1010, "key": 0x1080}) == ({0x1010: "fa"} if holds else {})

    def test_at_a_symbol(self) -> None:
        reads = {"value": Read("variable", -2, 2)}
        of = kernel(SITES, Store("a.pvs:1", name="value", size=2), length=2, reads=reads, symbols={"variable": 0x1082})
        assert patched(of, image(at_1080="34 12"), {"site": 0x1010}) == {0x1010: "34 12"}

    def test_a_read_of_a_read(self) -> None:
        """A key holds a pointer to a struct, which holds the function."""
        reads = {"struct": Read("key", 0, 4), "function": Read("struct", 4, 4)}
        of = kernel(SITE_KEY, branch("e9", "function"), length=5, reads=reads)
        text = image(at_1080="90 10 00 00", at_1094="00 20 00 00")
        assert patched(of, text, {"site": 0x1010, "key": 0x1080}) == {0x1010: "e9 eb 0f 00 00"}

    @pytest.mark.parametrize(
        ("code", "leads"),
        [
            ("e8 10 00 00 00", 0x1025),
            ("e9 f0 ff ff ff", 0x1005),
            ("2e e8 10 00 00 00", 0x1026),
            ("0f 84 10 00 00 00", 0x1026),
            ("0f 8f 10 00 00 00", 0x1026),
            ("0f 1f 44 00 00 00", None),
            ("2e 90 00 00 00 00", None),
            ("eb 10", None),
        ],
    )
    def test_where_a_branch_leads(self, code: str, leads: int | None) -> None:
        of = kernel(SITES, branch("e8", "callee", -9), length=5, reads={"callee": Read("site")})
        pokes = patched(of, image(at_1010=code), {"site": 0x1010})
        if leads is None:
            assert pokes == {}  # such a record has no site
        else:
            assert pokes == {0x1010: "e8 " + (leads - 9 - 0x1015 & 0xFFFFFFFF).to_bytes(4, "little").hex(" ")}

    def test_a_branch_that_the_text_cuts_short(self) -> None:
        of = kernel(
            CALLERS, Code("a.pvs:1", data=b"\xfa"), length=1, place=("callee", 0), reads={"callee": Read("caller")}
        )
        assert patched(of, image(at_10fc="e8 05 ff ff"), {"caller": 0x10FC}) == {}

    @pytest.mark.parametrize(
        ("code", "length", "leads"),
        [
            ("e8 0d 00 00 00", 5, True),
            ("e8 0d 00", 3, False),  # the site ends within it
            ("2e e8 0c 00 00 00", 6, False),
            ("e9 0d 00 00 00", 5, False),
            ("e8 0c 00 00 00", 5, False),
        ],
    )
    def test_whether_it_is_this_branch(self, code: str, length: int, leads: bool) -> None:
        rule = Code("a.pvs:1", Branches(False, 0xE8, "thunk"), data=b"\xfa")
        of = kernel(SITES, rule, length=length, symbols={"thunk": 0x1022})
        assert bool(patched(of, image(at_1010=code), {"site": 0x1010})) == leads

    def test_a_branch_around_the_end_of_the_addresses(self) -> None:
        rule = Code("a.pvs:1", Branches(False, 0xE9, "thunk"), data=b"\xfa")
        of = kernel(SITES, rule, length=5, symbols={"thunk": 0xF0001015})
        assert patched(of, image(at_1010="e9 00 00 00 f0"), {"site": 0x1010}) == {0x1010: "fa 0f 1f 40 00"}


class TestPlaces:
    def test_behind_a_field(self) -> None:
        of = kernel(CALLERS, Code("a.pvs:1", data=b"\xfa"), length=1, place=("caller", -4))
        assert patched(of, image(), {"caller": 0x1014}) == {0x1010: "fa"}

    def test_where_a_branch_leads(self) -> None:
        """One that is no branch has no site; two callers share one if sites may be stacked."""
        of = kernel(
            CALLERS, Code("a.pvs:1", data=b"\xfa"), length=1, place=("callee", -1), reads={"callee": Read("caller")},
            stacked=True,
        )  # fmt: skip
        text = image(at_1010="e8 10 00 00 00", at_1040="e8 e0 ff ff ff", at_1080="90 10 00 00 00")
        assert patched(of, text, {"caller": 0x1010}, {"caller": 0x1040}, {"caller": 0x1080}) == {0x1024: "fa"}

    def test_where_memory_leads_may_be_outside(self) -> None:
        """A module's function, say. What a table names may not."""
        rule = Code("a.pvs:1", Begins("site", 0, b"\x90"), data=b"\xfa")
        of = kernel(CALLERS, rule, length=1, place=("callee", 0), reads={"callee": Read("caller")})
        assert patched(of, image(at_1010="e8 00 00 00 10"), {"caller": 0x1010}) == {}
        of = kernel(CALLERS, rule, length=1, place=("caller", 0))
        with pytest.raises(PatchError, match="site 0x2000: its 1 bytes are outside the text"):
            patched(of, image(), {"caller": 0x2000})

    def test_what_a_symbol_names_may_not_either(self) -> None:
        layout = SITES.changed(patterns={"site": "place_*"})
        of = kernel(layout, Code("a.pvs:1", Begins("site", 0, b"\x90"), data=b"\xfa"), length=5)
        assert patched(of, image(), {"site": 0x10FB}) == {}
        with pytest.raises(PatchError, match="site 0x10fc: its 5 bytes are outside the text"):
            patched(of, image(), {"site": 0x10FC})

    @pytest.mark.parametrize(
        ("code", "written"),
        [("90", "fa"), ("2e e8 00 00 00 00", "fa 0f 1f 40 00 90"), ("eb 10", "fa 90"), ("b8 90 90 90 90", None)],
    )
    def test_as_long_as_the_instruction(self, code: str, written: str | None) -> None:
        of = kernel(SITES, Code("a.pvs:1", Not(Begins("site", 0, b"\xb8")), data=b"\xfa"), decoded=True)
        assert patched(of, image(at_1010=code), {"site": 0x1010}) == ({0x1010: written} if written else {})

    def test_no_instruction(self) -> None:
        of = kernel(SITES, Code("a.pvs:1", data=b"\xfa"), decoded=True)
        for text, site in ((image(at_1010="0f 04"), 0x1010), (image(at_10ff="e8"), 0x10FF)):
            with pytest.raises(PatchError, match=f"^family: record 0, site {site:#x}: there is no instruction$"):
                patched(of, text, {"site": site})


class TestStackedLongest:
    LAYOUT = Layout(".alt", 6, (Field("site", 0, 32), Field("len", 32, 8), Field("cpuid", 40, 8)))

    def pokes(self, *records: tuple[int, int, int], **family: Any) -> dict[int, str]:
        rule = Code("a.pvs:1", CpuHasField("cpuid"), data=b"\xfa")
        family = {"stacked": True, **family}
        made = make_kernel(make_spec(families=[Family("family", self.LAYOUT, (rule,), **family)]), features=["FAST"])
        return patched(made, image(), *({"site": site, "len": size, "cpuid": cpuid} for site, size, cpuid in records))

    def test_each_is_as_long_as_the_longest(self) -> None:
        records = (0x1010, 2, 3), (0x1010, 5, 9), (0x1010, 1, 9)
        assert self.pokes(*records) == {0x1010: "fa 90"}
        assert self.pokes(*records, longest=True) == {0x1010: "fa 0f 1f 40 00"}

    def test_of_those_that_follow_each_other(self) -> None:
        records = (0x1010, 2, 3), (0x1020, 4, 3), (0x1010, 5, 9)
        assert self.pokes(*records, longest=True) == {0x1010: "fa 90", 0x1020: "fa 0f 1f 00"}


class TestActions:
    def test_a_store_is_as_wide_as_its_read(self) -> None:
        layout = Layout(".rc", 8, (Field("site", 0, 32), Field("key", 32, 32)))
        for size, signed, written in ((1, False, "fe"), (2, True, "fe ff"), (4, False, "fe ff 34 12")):
            reads = {"shift": Read("key", 0, size, signed)}
            of = kernel(layout, Store("a.pvs:1", name="shift", size=size), length=size, reads=reads)
            text = image(at_1080="fe ff 34 12")
            assert patched(of, text, {"site": 0x1010, "key": 0x1080}) == {0x1010: written}

    def test_a_store_that_is_too_wide_declines(self) -> None:
        reads = {"value": Read("site", 0, 4)}
        rule = Store("a.pvs:1", name="value", size=4), Code("a.pvs:2", data=b"\xfa")
        assert patched(kernel(SITES, *rule, length=3, reads=reads), image(), {"site": 0x1010}) == {0x1010: "fa 66 90"}

    def test_a_prefixed_call(self) -> None:
        of = kernel(SITES, branch("2e e8", "thunk"), length=6, symbols={"thunk": 0x2000})
        assert patched(of, image(), {"site": 0x1010}) == {0x1010: "2e e8 ea 0f 00 00"}

    @pytest.mark.parametrize("where", ["symbol", "read"])
    def test_a_call_around_the_end_of_the_addresses(self, where: str) -> None:
        """With 32 bits. With 64 it is out of reach."""
        far = image(at_1084="00 00 00 f0 00 00 00 00")
        for bits, size in ((32, 4), (64, 8)):
            family = Family("family", SITE_KEY, (branch("e8", where),), length=5, reads={"read": Read("key", 4, size)})
            of = make_kernel(make_spec(bits, families=[family]), symbols={"symbol": 0xF0000000})
            if bits == 32:
                assert patched(of, far, {"site": 0x1010, "key": 0x1080}) == {0x1010: "e8 eb ef ff ef"}
                continue
            with pytest.raises(
                PatchError, match=r"^family: record 0, site 0x1010: a\.pvs:1: the target is out of reach from 0x1010$"
            ):
                patched(of, far, {"site": 0x1010, "key": 0x1080})

    @pytest.mark.parametrize(("addend", "begins"), [(0, False), (1, True), (-1, False), (5, False)])
    def test_what_lies_beside_the_site(self, addend: int, begins: bool) -> None:
        rule = Code("a.pvs:1", Begins("site", addend, b"\x90"), data=b"\xfa")
        pokes = patched(kernel(SITES, rule, length=2), image(at_1010="55 90"), {"site": 0x1010})
        assert pokes == ({0x1010: "fa 90"} if begins else {})

    def test_nops_are_laid_anew_though_nothing_is_decided(self) -> None:
        of = kernel(SITES, Keep("a.pvs:1"), length=5, relaid=True)
        assert patched(of, image(at_1010="90 90 90 90 fa"), {"site": 0x1010}) == {0x1010: "0f 1f 40 00 fa"}
        of = kernel(SITES, Keep("a.pvs:1"), length=5)
        assert patched(of, image(at_1010="90 90 90 90 fa"), {"site": 0x1010}) == {}

    def test_a_call_beside_each_site_itself(self) -> None:
        """Where a site lies is its own, even if its record says it by another name."""
        of = kernel(CALLERS, branch("e8", "site", 9), length=5, place=("caller", -4))
        pokes = patched(of, image(), {"caller": 0x1014}, {"caller": 0x1024})
        assert pokes == {0x1010: "e8 04 00 00 00", 0x1020: "e8 04 00 00 00"}

    def test_elsewhere(self) -> None:
        of = kernel(SITES, branch("e8", "elsewhere"), length=5)
        message = r"^family: record 0, site 0x1010: it leads to where the kernel chose at boot$"
        with pytest.raises(StateError, match=message):
            patched(of, image(), {"site": 0x1010})

    def test_jumps_over_int3(self) -> None:
        """More nops than the longest nop has are jumped over, where a table of nops says so."""
        spec = make_spec(families=[Family("family", SITES, (Code("a.pvs:1", data=b""),), length=200)])
        machine = spec.machine.changed(jumps=frozenset({"nops"}))
        for length, written in ((4, "0f 1f 40 00"), (5, "eb 03" + " cc" * 3), (129, "eb 7f" + " cc" * 127)):
            family = spec.families["family"].changed(length=length)
            of = make_kernel(spec.changed(machine=machine, families={"family": family}))
            assert patched(of, image(), {"site": 0x1010}) == {0x1010: written}
        family = spec.families["family"].changed(length=130)
        of = make_kernel(spec.changed(machine=machine, families={"family": family}))
        assert patched(of, image(), {"site": 0x1010}) == {0x1010: "e9 7d 00 00 00" + " cc" * 125}


def jumps(target: int) -> Kernel:
    hole = Hole(1, 1, "label", 0, True, 2, True)
    return kernel(SITES, Code("a.pvs:1", data=b"\xeb\0", holes=(hole,)), length=2, symbols={"label": target})


@pytest.mark.parametrize(("target", "written"), [(0x1012, "eb 00"), (0x1091, "eb 7f"), (0xF92, "eb 80")])
def test_a_short_jump(target: int, written: str) -> None:
    assert patched(jumps(target), image(), {"site": 0x1010}) == {0x1010: written}


@pytest.mark.parametrize("target", [0x1092, 0xF91])
def test_a_short_jump_out_of_reach(target: int) -> None:
    with pytest.raises(PatchError, match=r"site 0x1010: .*the target is out of reach from 0x1010"):
        patched(jumps(target), image(), {"site": 0x1010})


class TestOpsOfSites:
    """A family whose sites call through the interface's table of functions."""

    INTERFACE = Interface(
        "pv", None, 255, {}, {(): {0: "op0", 2: "op2"}}, slots=(Slot(b"\xff\x15", 4),), functions="pv_ops"
    )

    def pokes(self, code: str, targets: dict[int, int]) -> dict[int, str]:
        rule = (
            Code("a.pvs:1", TargetIs("nothing"), data=b""),
            branch("e8", "BUG_func").changed(guard=TargetIs(None)),
            branch("e8", "target"),
        )
        spec = make_spec(families=[Family("family", SITES, rule, length=6)]).changed(
            interface=self.INTERFACE, backends={}
        )
        symbols = {"pv_ops": 0x2000, "nothing": 0x3000, "BUG_func": 0x4000}
        return patched(
            make_kernel(spec, backend=None, symbols=symbols, targets=targets), image(at_1010=code), {"site": 0x1010}
        )

    def test_the_slot_names_the_op(self) -> None:
        assert self.pokes("ff 15 08 20 00 00", {2: 0x3010}) == {0x1010: "e8 fb 1f 00 00 90"}
        assert self.pokes("ff 15 00 20 00 00", {0: 0x3000}) == {0x1010: "0f 1f 40 00 66 90"}
        assert self.pokes("ff 15 00 20 00 00", {0: 0}) == {0x1010: "e8 eb 2f 00 00 90"}

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("ff 15 04 20 00 00", "the site names 0x2004, which is no op's slot in pv_ops"),
            ("ff 15 01 20 00 00", "the site names 0x2001, which is no op's slot in pv_ops"),
            ("e8 00 00 00 00 90", "the site names no slot of a table of functions"),
            ("ff 15 08 20 00 00", r"the target of op op2 \(2\) is not bound"),
        ],
    )
    def test_no_op_of_the_table(self, code: str, message: str) -> None:
        with pytest.raises(PatchError, match=message) as error:
            self.pokes(code, {0: 0x3010})
        assert isinstance(error.value, BindError) == ("slot of" not in message)


def test_a_copy_through_a_read_needs_a_field() -> None:
    """A replacement that is copied throughout and laid anew, at a site that the record names by another field."""
    layout = Layout(".alt", 9, (Field("at", 0, 32), Field("repl", 32, 32), Field("len", 64, 8)))
    rule = (
        Bug("a.pvs:1", Compares("len", "==", 255), message="too long"),
        Copy("a.pvs:2", address="repl", size=4, throughout=True),
    )
    of = kernel(layout, *rule, place=("at", 1), relaid=True, throughout=True)
    text = image(at_1080="75 8e 90 90")
    assert patched(of, text, {"at": 0x100F, "repl": 0x1080, "len": 6}) == {0x1010: "75 fe" + " 0f 1f 40 00"}
