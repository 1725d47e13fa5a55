"""Specs as data: from the engine's value to JSON, and back. Reading creates only values of these classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

from pvspec.engine import command_line, guards, spec
from pvspec.engine.value import Map, Value

Json: TypeAlias = "bool | int | str | list[Json] | None"

_CLASSES: dict[str, Callable[..., object]] = {
    kind.__name__: kind
    for kind in (
        *(spec.Code, spec.Keep, spec.Bug, spec.Query, spec.Aim, spec.Store, spec.Copy, spec.Hole),
        *(spec.Field, spec.Layout, spec.Names, spec.Rom, spec.Target, spec.Backend, spec.Read, spec.Family, spec.Slot),
        *(spec.Interface, spec.Architecture, spec.Let, spec.Decision, spec.Listed, spec.Assign, spec.OpenFact),
        *(spec.Conditional, spec.Decide, spec.Spec),
        *(command_line.Variable, command_line.Parameter, command_line.CommandLine),
        *(guards.AnyOf, guards.AllOf, guards.Not, guards.CpuHas, guards.CpuVendor, guards.CpuNumber, guards.Cpus),
        *(guards.VariableIs, guards.VariableCompares, guards.Holds, guards.HasConfig, guards.KernelHas),
        *(guards.Vulnerability, guards.BackendIs, guards.NopsAre),
        *(guards.OptionSet, guards.OpTargetIs, guards.TargetIs, guards.OpNoreturn, guards.CpuHasField, guards.Within),
        *(guards.Branches, guards.Begins, guards.Nonzero, guards.Compares, guards.HasBits, guards.IsAddress),
    )
}
_TUPLE, _MAP, _SET, _BYTES = "(", "{", "<", "b"


def dumps(value: spec.Spec) -> bytes:
    """A spec as data."""
    return json.dumps(_data(value), separators=(",", ":")).encode()


def loads(data: bytes) -> spec.Spec:
    """The spec that `dumps` wrote; ValueError for anything else."""
    try:
        value = _value(cast("Json", json.loads(data)))
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"not a spec: {error}") from None
    if not isinstance(value, spec.Spec):
        raise ValueError("not a spec")
    return value


def _data(value: object) -> Json:
    match value:
        case None | bool() | int() | str():
            return value
        case bytes():
            return [_BYTES, value.hex()]
        case Value():
            return [type(value).__name__, *(_data(getattr(value, name)) for name in value._fields)]
        case tuple() if type(value) is not tuple:
            return [type(value).__name__, *map(_data, value)]
        case tuple():
            return [_TUPLE, *map(_data, value)]
        case frozenset():
            return [_SET, *map(_data, sorted(cast("frozenset[str]", value)))]
        case Mapping():
            return [_MAP, *(_data(part) for pair in value.items() for part in pair)]
    raise TypeError(f"{type(value).__name__} is not part of a spec")


def _value(data: Json) -> object:
    if not isinstance(data, list):
        return data
    kind, *parts = data
    if kind == _BYTES:
        return bytes.fromhex(cast("str", parts[0]))
    values = list(map(_value, parts))
    if kind == _TUPLE:
        return tuple(values)
    if kind == _MAP:
        return Map(dict(zip(values[::2], values[1::2], strict=True)))
    if kind == _SET:
        return frozenset(values)
    return _CLASSES[cast("str", kind)](*values)
