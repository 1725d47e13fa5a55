"""From program to the engine's value: what a spec says, without what only a compiler needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from pvspec.compiler.assemble import Program
from pvspec.engine import spec as engine
from pvspec.engine.value import Map, Value
from pvspec.lang import model


class Lowered(Value):
    """A spec as the engine's value, and the engine's arm for each of the model's arms."""

    spec: engine.Spec
    arms: Mapping[model.Arm, engine.Arm]


def lower(program: Program) -> Lowered:
    """The value of a sound program; equal programs give equal values."""
    spec = program.spec
    arms = {arm: _arm(arm, program) for arm in spec.arms()}
    value = engine.Spec(
        spec.machine,
        None if spec.interface is None else _interface(spec.interface),
        {name: _backend(backend, arms) for name, backend in spec.backends.items()},
        {name: _family(family, arms) for name, family in spec.families.items()},
        spec.passes,
        spec.policy,
        spec.command_line,
        spec.configs,
        spec.probes,
    )
    return Lowered(value, arms)


def _arm(arm: model.Arm, program: Program) -> engine.Arm:
    where, guard, action = arm.span.where, arm.guard, arm.action
    match action:
        case model.Keep():
            return engine.Keep(where, guard)
        case model.Bug(message):
            return engine.Bug(where, guard, message)
        case model.Query(rom, argument):
            return engine.Query(where, guard, rom, argument)
        case model.Aim(name):
            return engine.Aim(where, guard, name)
        case model.Store(name, size):
            return engine.Store(where, guard, name, size)
        case model.Copy(address, size, relocated, throughout):
            return engine.Copy(where, guard, address, size, relocated, throughout)
        case model.Assembly() | model.RawBytes() | model.Branch() | model.Nop():
            code = program.code[arm]
            return engine.Code(where, guard, code.data, code.holes, arm.mask)
    assert_never(action)


Arms = Mapping[model.Arm, engine.Arm]


def _chain(chain: model.Chain, arms: Arms) -> engine.Chain:
    return tuple(arms[arm] for arm in chain)


def _names(names: model.Names) -> engine.Names:
    return engine.Names(names.options, frozenset(names.symbols), frozenset(names.protects))


def _interface(interface: model.Interface) -> engine.Interface:
    ops = interface.ops.values()
    numbers = {}
    for configuration in interface.configurations():
        known = sorted((op.numbers[configuration], op.name) for op in ops if configuration in op.numbers)
        numbers[configuration] = dict(known)
    return engine.Interface(
        interface.name,
        interface.layout,
        interface.max_len,
        interface.clobbers,
        {configuration: Map(known) for configuration, known in numbers.items()},
        frozenset(op.name for op in ops if op.noreturn),
        _names(interface.names),
        interface.slots,
        interface.functions,
    )


def _backend(backend: model.Backend, arms: Arms) -> engine.Backend:
    return engine.Backend(
        backend.name,
        {op.name: _chain(rule.chain, arms) for rule in backend.rules for op in rule.ops},
        _chain(backend.otherwise.chain, arms) if backend.otherwise else (),
        _names(backend.names),
        {name: _rom(rom, arms) for name, rom in backend.roms.items()},
        backend.targets,
    )


def _rom(rom: model.Rom, arms: Arms) -> engine.Rom:
    answers = {number: _chain(answer.chain, arms) for number, answer in rom.answers.items()}
    return engine.Rom(rom.layout, answers, _chain(rom.otherwise, arms))


def _family(family: model.Family, arms: Arms) -> engine.Family:
    return engine.Family(
        family.name,
        family.layout,
        _chain(family.rule, arms),
        family.length,
        family.decoded,
        family.place,
        family.stacked,
        family.longest,
        family.relaid,
        family.throughout,
        family.reads,
        _names(family.names),
    )
