"""Where a backend keeps the interrupt flag, in an emulated machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from pvspec.compile.assemble import Program
from pvspec.engine.spec import Guard, Value
from pvspec.lang import model
from pvspec.x86.effects import effects

Options = Mapping[str, bool]


class Place(Value):
    """Some bytes of memory that are a flag: it is 1 while they are `number`, or, if `bits`, have these bits."""

    address: int
    size: int
    number: int
    bits: bool

    def flag(self, value: int) -> int:
        """The flag that this number in memory means."""
        return int(value & self.number == self.number if self.bits else value == self.number)


def option_settings(
    backend: model.Backend, interface: model.Interface, guards: list[Guard | None]
) -> Iterator[Options]:
    """Every setting of the options that some guard asks for; the others stay at their defaults."""
    defaults = {**interface.names.options, **backend.names.options}
    asked = sorted({name for guard in guards for name in _options(guard)} & defaults.keys())
    for values in itertools.product((True, False), repeat=len(asked)):
        yield {**defaults, **dict(zip(asked, values, strict=True))}


def _options(guard: object) -> Iterator[str]:
    match guard:
        case ("option", str(name)):
            yield name
        case (_, *parts):
            for part in parts:
                yield from _options(part)


def may_hold(guard: Guard | None, options: Options) -> bool:
    """Whether a guard can be true with these options, whatever else it asks for."""
    return True in _outcomes(guard, options)


def _outcomes(guard: Guard | None, options: Options) -> set[bool]:
    match guard:
        case None:
            return {True}
        case ("option", name):
            return {options[name]} if name in options else {True, False}
        case ("not", part):
            return {not value for value in _outcomes(part, options)}
        case ("any" | "all" as kind, *parts):
            combine = any if kind == "any" else all
            return {combine(values) for values in itertools.product(*(_outcomes(part, options) for part in parts))}
    return {True, False}


def kept_place(
    backend: model.Backend, options: Options, program: Program, addresses: Mapping[str, int], bases: Mapping[str, int]
) -> Place | None:
    """Where the backend keeps the flag with these options; None if in the CPU, as usual."""
    for kept in backend.kept:
        if kept in program.shadows and may_hold(kept.guard, options):
            code = program.shadows[kept]
            ((access,),) = (effect.memory for effect in effects(code, program.spec.machine.bits))
            start = sum(addresses[hole.symbol] + hole.addend for hole in code.holes) + (
                access.displacement if not code.holes else 0
            )
            address = (start + bases.get(access.segment or "", 0)) & ((1 << program.spec.machine.bits) - 1)
            return Place(address, access.size, kept.number, kept.bits)
    return None
