"""Values: made of all their fields, never changed, equal and hashed by what they are."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from pvspec.engine.value import Map, Value


class Point(Value):
    x: int
    y: int = 2


class Other(Value):
    x: int
    y: int = 2


class Deep(Point):
    parts: Mapping[str, int] = Map()


def test_fields_by_place_and_by_name() -> None:
    assert [(p.x, p.y) for p in (Point(1), Point(1, 2), Point(x=1), Point(1, y=2))] == [(1, 2)] * 4
    assert (Deep(1, 3, {"a": 4}).parts, Deep(1, parts={"b": 5}).parts) == ({"a": 4}, {"b": 5})


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "Point needs x"),
        ((), {"y": 1}, "Point needs x"),
        ((1,), {"x": 1}, "Point takes x, y once each, nothing else"),
        ((1, 2), {"y": 1}, "Point takes x, y once each, nothing else"),
        ((1,), {"z": 1}, "Point takes x, y once each, nothing else"),
        ((1, 2, 3), {}, "Point takes x, y once each, nothing else"),
    ],
)
def test_fields_that_are_missing_or_too_many(values: tuple[int, ...], named: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as error:
        Point(*values, **named)
    assert str(error.value) == message


def test_nothing_can_be_changed() -> None:
    given = {"a": 1}
    deep: Any = Deep(1, 2, given)
    given["a"] = 5
    assert deep.parts == {"a": 1}
    with pytest.raises(TypeError):
        deep.parts["a"] = 5
    with pytest.raises(AttributeError, match=r"Deep\.x cannot be changed"):
        deep.x = 5
    with pytest.raises(AttributeError, match=r"Deep\.x cannot be deleted"):
        del deep.x
    with pytest.raises(AttributeError, match="a Map cannot be changed"):
        deep.parts.other = 5
    assert deep == Deep(1, 2, {"a": 1})


def test_a_changed_copy() -> None:
    point = Point(1, 5)
    assert point.changed(x=3) == Point(3, 5)
    assert point == Point(1, 5)
    with pytest.raises(TypeError):
        point.changed(z=3)


def test_equal_by_class_and_fields() -> None:
    assert Point(1) == Point(1, 2) != Point(1, 3)
    assert Point(1) != Other(1)
    assert Point(1) != Deep(1)
    assert Point(1) != (1, 2)
    assert hash(Point(1)) == hash(Point(1, 2))


def test_maps_are_equal_whatever_their_order() -> None:
    one, other = Map({"a": 1, "b": 2}), Map({"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert hash(Deep(1, 2, {"a": 1, "b": 2})) == hash(Deep(1, 2, {"b": 2, "a": 1}))
    assert [*one] == ["a", "b"]
    assert len(one) == 2
    assert "a" in one
    assert "c" not in one


@pytest.mark.parametrize("value", [Point(1, 3), Deep(1, 2, {"a": 4}), Map({"a": Point(1)})])
def test_pickled_and_copied(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == copy.copy(value) == value


def test_shown_with_all_fields() -> None:
    assert repr(Deep(1, parts={"a": 4})) == "Deep(x=1, y=2, parts=Map({'a': 4}))"
