"""Immutable values: records with typed fields, and mappings that cannot be changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

K = TypeVar("K")
V = TypeVar("V")


@dataclass_transform(frozen_default=True)
class Value:
    """An immutable record: its fields are its annotations, a class attribute is a field's default.

    A dict becomes a `Map`, so that nothing in a value can be changed. A frozen dataclass in all else but what it costs
    to declare, 10 µs instead of 500 to 900: a generated module has some, and a compiler that starts anew for each spec
    has a hundred.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _mappings: ClassVar[tuple[str, ...]] = ()  # of these the ones that may be a dict

    def __init_subclass__(cls) -> None:
        cls._fields = (*cls._fields, *cls.__annotations__)
        mappings = (name for name, kind in cls.__annotations__.items() if str(kind).startswith("Mapping"))
        cls._mappings = (*cls._mappings, *mappings)
        setattr(cls, "__match_args__", cls._fields)  # noqa: B010 - mypy knows a read-only one

    def __init__(self, *values: Any, **named: Any) -> None:
        self.__dict__.update(zip(self._fields, values, strict=False))
        if named or len(values) != len(self._fields):
            self._complete(len(values), named)
        for name in self._mappings:
            if type(self.__dict__[name]) is dict:
                self.__dict__[name] = Map(self.__dict__[name])

    def _complete(self, count: int, named: dict[str, Any]) -> None:
        """Fill in the fields after the first `count`: from the named ones, else with their defaults."""
        for name in self._fields[count:]:
            if name not in named and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name}")
            self.__dict__[name] = named.pop(name) if name in named else getattr(type(self), name)
        if named or count > len(self._fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)} once each, nothing else")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def changed(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(tuple(map(self.__dict__.__getitem__, self._fields)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self.__dict__[name]!r}' for name in self._fields)})"


class Map(Mapping[K, V]):
    """A mapping that cannot be changed, in the order in which it was made; it can be hashed, pickled and copied."""

    __slots__ = ("_items",)
    _items: dict[K, V]

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        object.__setattr__(self, "_items", dict(items or {}))

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __reduce__(self) -> tuple[type[Map[K, V]], tuple[dict[K, V]]]:
        return type(self), (self._items,)

    def __repr__(self) -> str:
        return f"Map({self._items!r})"
