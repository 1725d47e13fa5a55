"""Specs as data: what is read is what was written, of every class that a spec is made of; nothing else is read."""

from __future__ import annotations

import inspect
import json
from typing import Any, get_args

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.stored import dumps, loads
from pvspec.engine import command_line, guards, spec
from pvspec.engine.guards import AllOf, AnyOf, Guard, Not
from pvspec.engine.spec import Architecture, Decide, Decision, Spec
from pvspec.engine.value import Map
from tests.shipped import KERNELS, Kernel
from tests.test_cases import told

EMPTY = Spec(Architecture("pc", 64, {}, frozenset(), {}, ()), None, {}, {}, ())


def made(kind: type[Any]) -> object:
    """A value of a class, each field with another number."""
    fields: tuple[str, ...] = getattr(kind, "_fields")  # noqa: B009 - a Value's, or a NamedTuple's
    return kind(*range(1, len(fields) + 1))


def parts() -> list[type[Any]]:
    """All classes that a spec is made of: those of the three files that say what a spec is."""
    files = (spec, guards, command_line)
    found = [kind for file in files for _, kind in inspect.getmembers(file, inspect.isclass)]
    own = {kind: None for kind in found if kind.__module__ in [file.__name__ for file in files]}
    others = (spec.Rule, spec.Cpu, spec.Step, command_line.ReadLine)
    return [kind for kind in own if hasattr(kind, "_fields") and kind not in others]


def guarded(guard: object) -> Spec:
    """A spec that holds a value, wherever."""
    found: Any = guard
    return EMPTY.changed(policy=(Decide("", "", (Decision("", True, (), found),)),))


def held(found: Spec) -> object:
    """What `guarded` has put into a spec."""
    (step,) = found.policy[0].steps
    return step.guard if isinstance(step, Decision) else None


def test_the_classes_are_all() -> None:
    assert {spec.Code, spec.Hole, spec.Family, guards.Within, guards.Not, guards.OptionSet} <= {*parts()}
    assert {*get_args(guards.Question)} <= {*parts()}


@pytest.mark.parametrize("kind", parts(), ids=lambda kind: kind.__name__)
def test_every_class_comes_back(kind: type[Any]) -> None:
    value = guarded(made(kind)) if kind is not Spec else EMPTY
    found = loads(dumps(value))
    assert told(found) == told(value)
    assert type(held(found)) is kind if kind is not Spec else type(found) is kind


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**64, "", "a\u2028\0", b"", b"\x00\xff", (), (1,), ((), ("a",)), frozenset(),
     frozenset({"b", "a"}), Map(), Map({"a": (1, b"x")}), Map({(True, False): Map({1: "one"})}), Map({1: None})],
    ids=repr,
)  # fmt: skip
def test_every_kind_of_value_comes_back(value: object) -> None:
    found: object = held(loads(dumps(guarded(value))))
    assert found == value
    assert type(found) is type(value)


def test_guards_come_back() -> None:
    guard: Guard = AllOf((AnyOf((guards.CpuHas(1), Not(guards.OpNoreturn()))), guards.Within("site", "a", "b")))
    assert loads(dumps(guarded(guard))) == guarded(guard)


def test_the_same_value_is_the_same_data() -> None:
    names = [f"name{number}" for number in range(40)]
    assert dumps(EMPTY.changed(probes=frozenset(names))) == dumps(EMPTY.changed(probes=frozenset(reversed(names))))
    assert json.loads(dumps(EMPTY.changed(probes=frozenset(names))))[-1] == ["<", *sorted(names)]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_shipped_specs_come_back(kernel: Kernel) -> None:
    lowered = lower(kernel.program).spec
    assert loads(dumps(lowered)) == lowered


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"5",
        b"null",
        b"[]",
        b'["b"]',
        b'["b", "0"]',
        b'["b", 5]',
        b'["(", 1]',
        b'["{", 1]',
        b'["{", ["{"], 1, 2]',
        b'["Spec"]',
        b'["Spec", 1, 2, 3, 4]',
        b'["Spec", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]',
        b'["Path", "/"]',
        b'[["("], 1]',
        b'["<", ["<", 1], ["{", 1, ["x"]]]',
        b"[" * 100_000 + b"]" * 100_000,
        b'["(",' * 2_000 + b"1" + b"]" * 2_000,
        b'["Not", ["OpNoreturn"]]',
    ],
)
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever json says, too
        loads(data)


def test_what_is_no_part_of_a_spec_is_not_written() -> None:
    with pytest.raises(TypeError, match="list is not part of a spec"):
        dumps(guarded([1]))
