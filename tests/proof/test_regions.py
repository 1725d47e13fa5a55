"""Regions against the patch functions themselves, site by site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.compiler.sound.fit import rules
from pvspec.compiler.sound.reach import OTHER
from pvspec.engine.apply import Kernel
from pvspec.engine.facts import Facts
from pvspec.engine.guards import AllOf, CpuHas, Nonzero, OpNoreturn, OptionSet, TargetIs
from pvspec.lang import model
from pvspec.lang.diagnostics import Work
from pvspec.proof.regions import (
    LENGTH,
    MAX_CELLS,
    Arm,
    Box,
    Dead,
    Regions,
    RomAnswer,
    Undecided,
    all_regions,
    described,
    flattened,
    merged,
)
from pvspec.proof.regions import regions as decide
from pvspec.support.paths import resource

from ..shipped import KERNELS

PROGRAM = check_spec(resource("specs", "linux-2.6.23", "i386")).sound()
SPEC = lower(PROGRAM).spec
assert SPEC.interface is not None
NUMBERS = {name: number for number, name in SPEC.interface.numbers[False, False].items()}
FOUND = [found for found in all_regions(PROGRAM, Work()) if isinstance(found, Regions)]
TARGETS = {"null": 0, "paravirt_nop": 0xC0100000, OTHER: 0xC0200000}
SYMBOLS = {"paravirt_nop": 0xC0100000, "vcpu_info": 0xC0301000, "check_events": 0xC0302000, "irq_enabled": 0xC0303000}


def within(box: Box, found: Regions, site: dict[Any, Any]) -> bool:
    lengths, *answers = box
    if not any(isinstance(ends, tuple) and int(ends[0] or 0) <= site[LENGTH] <= int(ends[1] or 0) for ends in lengths):
        return False
    return all(
        site.get(question, OTHER) in chosen for question, chosen in zip(found.variables[1:], answers, strict=True)
    )


@settings(max_examples=300)
@given(
    backend=st.sampled_from(["native", "xen", "lguest"]),
    op=st.sampled_from(["irq_disable", "irq_enable", "save_fl", "restore_fl", "iret", "clts", "write_cr0", "pte_val"]),
    length=st.one_of(st.integers(0, 30), st.integers(0, 254)),
    clobber=st.integers(0, 7),
    target=st.sampled_from(list(TARGETS)),
    options=st.fixed_dictionaries({"have_vcpu_info_placement": st.booleans(), "smp": st.booleans()}),
)
def test_a_site_gets_the_arm_of_its_region(
    backend: str, op: str, length: int, clobber: int, target: str, options: dict[str, bool]
) -> None:
    settings = options if backend == "xen" else {}
    number = NUMBERS[op]
    bound = Kernel(Facts(SPEC, backend, targets={number: TARGETS[target]}, symbols=SYMBOLS, options=settings))
    row = bound.row(number, clobber, length)
    (found,) = (found for found in FOUND if found.owner == backend and op in found.ops)
    site: dict[Any, Any] = {LENGTH: length, OpNoreturn(): op == "iret"}
    site |= {Dead(bit): bool(clobber & bit) for bit in (1, 2, 4)}
    site |= {OptionSet(name): value for name, value in options.items()}
    site[TargetIs(None)] = OTHER if target == OTHER else (None if target == "null" else target,)
    fired = [arm for arm, boxes in found.fires for box in boxes if within(box, found, site)]
    assert len(fired) == 1, "regions do not overlap and leave nothing out"
    assert (fired[0].span.where if fired[0] else "") == row.where


def test_every_arm_is_somewhere() -> None:
    for found in FOUND:
        assert {arm for arm, boxes in found.fires if boxes}.isdisjoint(found.never)


def test_a_rom_is_followed_into_its_answers() -> None:
    (found,) = (found for found in FOUND if found.owner == "vmi" and "irq_enable" in found.ops)
    assert RomAnswer("relocation", 29) in found.variables
    assert len([arm for arm, _ in found.fires if arm is not None]) == 7


def test_a_feature_of_every_cpu_decides() -> None:
    program = KERNELS[2].program
    (arm, *_) = program.spec.families["returns"].rule
    always = Arm(arm.guarded(CpuHas(3 * 32 + 21)), CpuHas(3 * 32 + 21))
    found = decide("f", (), (always, Arm(None, None)), (5, 5), program, {}, Work())
    assert isinstance(found, Regions)
    assert [fired for fired, _ in found.fires] == [always.arm]


def test_too_many_guards_are_not_decided() -> None:
    arm = PROGRAM.spec.chains["default"][0]
    guard = AllOf(tuple(Nonzero(f"f{number}") for number in range(MAX_CELLS.bit_length())))
    found = decide("f", (), (Arm(arm.guarded(guard), guard),), (0, 9), PROGRAM, {}, Work())
    assert found == Undecided("f", (), found.cells if isinstance(found, Undecided) else 0)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_merging_keeps_the_cells(count: int) -> None:
    boxes: list[Box] = [
        (frozenset({(n,)}), frozenset({(m,)})) for n in range(count) for m in range(count) if (n, m) != (2, 2)
    ]
    cells = {(n, m) for box in merged(boxes) for n in box[0] for m in box[1]}
    assert cells == {((n,), (m,)) for n in range(count) for m in range(count) if (n, m) != (2, 2)}
    assert len(merged(boxes)) <= max(1, count)


@pytest.mark.parametrize("noreturn", [True, False])
def test_what_is_known_of_an_op_is_not_asked(noreturn: bool) -> None:
    arm = PROGRAM.spec.chains["default"][0]
    asks, rest = (Arm(arm.guarded(guard), guard) for guard in (OpNoreturn(), None))
    found = decide("f", (), (asks, rest), (9, 9), PROGRAM, {OpNoreturn(): frozenset({noreturn})}, Work())
    assert isinstance(found, Regions)
    assert found.never == ((rest.arm,) if noreturn else (asks.arm,))


def test_the_answers_of_a_rom_have_the_guard_of_its_query() -> None:
    backend, guard = PROGRAM.spec.backends["vmi"], Nonzero("f")
    query = next(arm for rule in rules(backend) for arm in rule.chain if isinstance(arm.action, model.Query))
    *arms, unwritten = flattened((query.guarded(guard),), backend)
    assert arms
    assert [arm for arm in arms if repr(guard) not in repr(arm.guard)] == []
    assert unwritten.guard is None


SPEC_OF_LENGTHS = """
machine pc { bits 32  nops p6 { "90" }  choose nops p6 }
interface ops { table "t" { addr u32 type u8 len u8 }
    op first 3 len 5  op second 4 len 2  op third 5 len 2 }
backend b for ops { otherwise = nop }
"""


def test_ops_of_other_lengths_are_decided_apart(tmp_path: Path) -> None:
    path = tmp_path / "lengths.pvs"
    path.write_text(SPEC_OF_LENGTHS, encoding="utf-8")
    found = [one for one in all_regions(check_spec(path).sound(), Work()) if isinstance(one, Regions)]
    assert [(one.ops, one.domains[0]) for one in found] == [
        (("first",), frozenset({(5, 5)})),
        (("second", "third"), frozenset({(2, 2)})),
    ]


WORDS = """
machine pc { bits 32  feature fast 1  nops p6 { "90" }  choose nops p6 }
interface ops { table "t" { addr u32 type u8 len u8 clobber u16 }  max_len 9
    registers { eax 1 }  option wide : bool = false  op first 3 }
backend b for ops {
    symbol a, c
    first = asm "nop; nop; nop" when cpu has fast and not wide
        else call a clobbers eax when target is a
        else call c clobbers eax when not target is null
        else keep when wide
        else asm "nop"
}
"""


def test_regions_in_words(tmp_path: Path) -> None:
    """In few boxes, without what does not matter; each is told by hand from the arms above."""
    path = tmp_path / "words.pvs"
    path.write_text(WORDS, encoding="utf-8")
    program = check_spec(path).sound()
    (found,) = (one for one in all_regions(program, Work()) if isinstance(one, Regions) and one.ops)
    assert [
        (arm.span.text if arm is not None else "", *(described(box, found, program) for box in boxes))
        for arm, boxes in found.fires
    ] == [
        ('asm "nop; nop; nop"', "len 3..9; cpu has fast; not wide"),
        (
            "call a",
            "len 5..9; not cpu has fast; not wide; target is a; eax dead",
            "len 5..9; wide; target is a; eax dead",
        ),
        (
            "call c",
            "len 5..9; not cpu has fast; not wide; target is not a or null; eax dead",
            "len 5..9; wide; target is not a or null; eax dead",
        ),
        (
            "keep",
            "len 0..9; wide; not eax dead",
            "len 0..4; wide; target is not null; eax dead",
            "len 0..9; wide; target is null; eax dead",
        ),
        (
            'asm "nop"',
            "len 1..9; not cpu has fast; not wide; not eax dead",
            "len 1..4; not cpu has fast; not wide; target is not null; eax dead",
            "len 1..9; not cpu has fast; not wide; target is null; eax dead",
            "len 1..2; cpu has fast; not wide",
        ),
        ("", "len 0; not wide"),
    ]


def test_boxes_that_meet_after_a_merge_are_merged_too() -> None:
    one, two, both = frozenset({(1,)}), frozenset({(2,)}), frozenset({(1,), (2,)})
    assert merged([(one, one), (one, two), (two, both)]) == [(both, both)]
