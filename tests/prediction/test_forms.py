"""Legal forms: guards of three values, holes that may be anything, and which code a form admits."""

from __future__ import annotations

import copy
import pickle
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.engine.apply import Kernel
from pvspec.engine.families import FamilySites
from pvspec.engine.guards import AllOf, AnyOf, Begins, Compares, Guard, IsAddress, Nonzero, Not
from pvspec.engine.sites import FamilySite
from pvspec.engine.spec import Arm, Bug, Code, Family, Field, Hole, Keep, Layout, Read, Store
from pvspec.engine.text import Text
from pvspec.prediction.forms import FamilyForms, Form, OtherForms, open_reads
from tests.engine.samples import make_kernel, make_spec

LAYOUT = Layout(".sites", 8, (Field("site", 0, 32), Field("key", 32, 32)))
READS = {"enabled": Read("key", 0, 1), "other": Read("key", 1, 1), "function": Read("key", 0, 4)}
NAMES = frozenset(READS)
ON, OTHER = Nonzero("enabled"), Nonzero("other")


def code(data: str, guard: Any = None, symbol: str | None = None) -> Code:
    whole = bytes.fromhex(data)
    holes = () if symbol is None else (Hole(1, 4, symbol, 0, True, 5, True),)
    return Code("a.pvs:1", guard, data=whole, holes=holes)


def sites(*rule: Arm, length: int = 5, memory: bytes = b"") -> tuple[FamilySites, Any]:
    """A family's sites, and the one at 0x1010, whose key at 0x1020 holds `memory`."""
    kernel: Kernel = make_kernel(make_spec(families=[Family("f", LAYOUT, rule, length=length, reads=READS)]))
    buffer = bytearray(b"\xaa" * 0x20 + memory.ljust(8, b"\0"))
    owner = FamilySites(kernel, kernel.spec.families["f"], Text(buffer, 0x1000))
    site = owner.site(FamilySite({"site": 0x1010, "key": 0x1020}))
    assert site is not None
    return owner, site


def codes(*rule: Arm, unknown: frozenset[str] = NAMES, **made: Any) -> list[str]:
    owner, site = sites(*rule, **made)
    return [form.code for form in FamilyForms(owner, unknown).forms(site)]


JMP, NOP = code("e9 01 00 00 00"), code("0f 1f 44 00 00")


def test_what_is_known_has_one_form() -> None:
    arms = JMP.changed(guard=ON), NOP
    assert codes(*arms, unknown=frozenset(), memory=b"\1") == ["e9 01 00 00 00"]
    assert codes(*arms, unknown=frozenset(), memory=b"\0") == ["0f 1f 44 00 00"]
    assert codes(*arms) == ["e9 01 00 00 00", "0f 1f 44 00 00"]


def test_behind_the_last_arm_the_site_stays() -> None:
    assert codes(JMP.changed(guard=ON)) == ["e9 01 00 00 00", "aa aa aa aa aa"]
    keep = Keep("a.pvs:2", OTHER)
    assert codes(JMP.changed(guard=ON), keep) == ["e9 01 00 00 00", "aa aa aa aa aa", "aa aa aa aa aa"]


def test_an_arm_without_room_is_no_form() -> None:
    assert codes(JMP.changed(guard=ON), code("eb 01", ON), code("90"), length=2)[0] == "eb 01"


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=4), st.sampled_from(["any", "all"]))
def test_three_values_are_all_that_they_may_become(parts: list[bool | None], kind: str) -> None:
    """A verdict is open just if the unknown values decide it, whatever else is known."""
    join = AnyOf if kind == "any" else AllOf
    guards: dict[bool | None, Guard] = {
        True: Compares("site", "==", 0x1010),
        False: Compares("site", "==", 0),
        None: ON,
    }
    found = codes(JMP.changed(guard=join(tuple(guards[part] for part in parts))), NOP)
    ways = [[part] if part is not None else [True, False] for part in parts]
    outcomes = {any(way) if kind == "any" else all(way) for way in product(*ways)}
    assert set(found) == {JMP.data.hex(" ") if outcome else NOP.data.hex(" ") for outcome in outcomes}
    negated = codes(JMP.changed(guard=Not(join(tuple(guards[part] for part in parts)))), NOP)
    assert set(negated) == {NOP.data.hex(" ") if outcome else JMP.data.hex(" ") for outcome in outcomes}


@pytest.mark.parametrize("value", [True, False])
def test_what_is_unknown_stays_so_inside_other_guards(value: bool) -> None:
    """What a site's own part does not decide, the unknown part does, however deep it is."""
    known, other = Compares("site", "==", 0x1010), Compares("site", "==", 0)
    inner: Guard = AllOf((ON, known)) if value else AnyOf((ON, other))
    outer: Guard = AnyOf((inner, other)) if value else AllOf((inner, known))
    for guard in (outer, Not(outer), Not(Not(outer))):
        assert codes(JMP.changed(guard=guard), NOP) == ["e9 01 00 00 00", "0f 1f 44 00 00"]


def test_a_hole_that_is_unknown_may_be_anything() -> None:
    call = code("e8 00 00 00 00", Not(IsAddress("function", None)), "function")
    assert codes(call, NOP, length=6) == ["e8 ?? ?? ?? ?? 90", "0f 1f 44 00 00 90"]
    assert codes(call, NOP, unknown=frozenset(), memory=b"\x15\x20\0\0") == ["e8 00 10 00 00"]
    assert codes(code("e8 00 00 00 00", None, "elsewhere"), unknown=frozenset()) == ["e8 ?? ?? ?? ??"]


def test_a_stored_value_may_be_anything() -> None:
    assert codes(Store("a.pvs:1", name="function", size=4), length=4) == ["?? ?? ?? ??"]


@given(st.binary(min_size=3, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 2**24 - 1))
def test_what_a_form_admits(shown: bytes, wild: list[bool], other: int) -> None:
    form = Form(" ".join("??" if w else f"{b:02x}" for b, w in zip(shown, wild, strict=True)), "")
    held = other.to_bytes(3, "little")
    assert form.admits(shown)
    assert form.admits(held) == all(w or a == b for a, b, w in zip(shown, held, wild, strict=True))
    assert not form.admits(shown[:2])
    assert not form.admits(shown + b"\0")


def test_the_other_forms_are_those_that_were_not_predicted() -> None:
    owner, site = sites(JMP.changed(guard=ON), NOP)
    for predicted, others in ((JMP, [NOP]), (NOP, [JMP]), (code("cc"), [JMP, NOP])):
        found = OtherForms(FamilyForms(owner, NAMES), site, predicted.data)
        assert found
        assert [form.code for form in found] == [other.data.hex(" ") for other in others]
        assert [form.code for form in found] == [other.data.hex(" ") for other in others]  # as often as asked


def test_other_forms_are_there_even_if_none_is_listed() -> None:
    owner, site = sites(JMP.changed(guard=ON), NOP)
    alone, one = (OtherForms(FamilyForms(of, NAMES), site, NOP.data) for of in (sites(NOP)[0], owner))
    assert alone
    assert list(alone) == []
    assert one != alone
    assert one != (*one,)
    assert hash(one) == hash(OtherForms(FamilyForms(owner, NAMES), site, NOP.data))
    for forms in (alone, one):
        for copied in (pickle.loads(pickle.dumps(forms)), copy.copy(forms)):
            assert copied == forms
            assert repr(copied) == repr(forms)
    assert repr(one) == "OtherForms(e9 01 00 00 00)"


def test_after_an_arm_none_with_its_guard_has_a_form() -> None:
    assert codes(JMP.changed(guard=ON), NOP.changed(guard=ON)) == ["e9 01 00 00 00", "aa aa aa aa aa"]


def test_a_stored_value_that_is_known() -> None:
    store = Store("a.pvs:1", name="function", size=4)
    assert codes(store, unknown=frozenset({"other"}), memory=b"\1\2\3\4", length=4) == ["01 02 03 04"]


def test_where_a_branch_leads_is_known() -> None:
    reads = {"value": Read("key", 0, 4), "leads": Read("key")}
    assert open_reads(Family("f", LAYOUT, (), length=5, reads=reads)) == {"value"}


def test_an_arm_that_cannot_be_written_is_no_form() -> None:
    """A target out of reach, a symbol that is not bound, a bug that may be reached: whoever asks gets the others."""
    far = Code("a.pvs:1", ON, data=b"\xeb\0", holes=(Hole(1, 1, "key", 0x1000, True, 2, True),))
    unbound = code("e8 00 00 00 00", OTHER, "nobody")
    bug = Bug("a.pvs:3", Compares("other", "==", 7), message="stop")
    assert codes(far, unbound, bug, NOP) == ["0f 1f 44 00 00"]
    assert codes(JMP.changed(guard=IsAddress("site", "nobody")), NOP) == ["0f 1f 44 00 00"]


@pytest.mark.parametrize("message", ["never"])
def test_a_bug_is_no_form_unless_it_may_be_reached(message: str) -> None:
    bug = Bug("a.pvs:3", Compares("site", "==", 0), message=message)
    assert codes(bug, JMP) == ["e9 01 00 00 00"]


def test_what_lies_where_nobody_knows_may_begin_with_anything() -> None:
    arm = JMP.changed(guard=Begins("function", -9, b"\x65"))
    assert codes(arm, NOP, memory=b"\x19\x10") == ["e9 01 00 00 00", "0f 1f 44 00 00"]
    known = codes(arm, NOP, unknown=frozenset(), memory=b"\x19\x10")
    assert known == ["0f 1f 44 00 00"]  # there is aa
