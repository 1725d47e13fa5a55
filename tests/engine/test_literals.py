"""Literals of values: Python reads them as the same value, and no line is longer than a formatter would leave it."""

from __future__ import annotations

from typing import Any

import pytest

from pvspec.compiler.printout.literals import WIDTH, Name, assignment, literal
from pvspec.engine.guards import AnyOf, CpuHas, KernelHas
from pvspec.engine.spec import Code, Hole, Keep, Layout
from pvspec.engine.value import Map

KNOWN = {kind.__name__: kind for kind in (AnyOf, Code, CpuHas, Hole, Keep, KernelHas, Layout)}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (-1, "-1"),
        ("a", '"a"'),
        ('"\\\n\u2028', '"\\"\\\\\\n\\u2028"'),
        (b"", 'b""'),
        (b"\x0f\x1f", 'bytes.fromhex("0f 1f")'),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, 2), "(1, 2)"),
        (frozenset(), "frozenset()"),
        (frozenset({"b", "a"}), 'frozenset(("a", "b"))'),
        (Map({"a": 1, (True,): 2}), '{"a": 1, (True,): 2}'),
        (Hole(1, 4, "f"), 'Hole(1, 4, "f")'),
        (Hole(1, 4, "f", relative=True, end=5), 'Hole(1, 4, "f", relative=True, end=5)'),
        (Keep("a:1"), 'Keep("a:1")'),
        (Code("a:1", CpuHas(3), b"\x90"), 'Code("a:1", guard=CpuHas(3), data=bytes.fromhex("90"))'),
    ],
)
def test_on_one_line(value: Any, text: str) -> None:
    assert literal(value) == text
    assert eval(text, dict(KNOWN)) == (dict(value) if isinstance(value, Map) else value)


@pytest.mark.parametrize("size", [*range(90, 125), 400])
def test_lines_are_as_long_as_they_may_be(size: int) -> None:
    for value in (AnyOf((KernelHas("a"), KernelHas("b" * size))), ("c" * 60, "d" * (size - 60))):
        text = assignment("NAME", value)
        flat = f"NAME = {literal(value, used=-1000)}"
        assert (text == flat) == (len(flat) <= WIDTH)
        if text != flat:
            assert text.splitlines()[0][-1] == "("
            assert all(line.endswith(",") for line in text.splitlines()[1:-1] if not line.endswith("("))
        found: dict[str, Any] = dict(KNOWN)
        exec(text, found)
        assert found["NAME"] == value


def test_a_part_with_a_name_is_named() -> None:
    part = KernelHas("a" * 90)
    names = {id(part): Name("_PART")}
    assert assignment("NAME", (part, 1), names) == "NAME = (_PART, 1)"
    assert literal(part, names) == "_PART"
    assert assignment("_PART", part, names) == f'_PART = KernelHas("{"a" * 90}")'
    long = ("b" * 110, part)
    assert assignment("NAME", long, names) == f'NAME = (\n    "{"b" * 110}",\n    _PART,\n)'
