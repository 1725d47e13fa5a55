"""Lowering: what the engine's value has in common with the model is the same, field by field, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pvspec.compiler.assemble import Program
from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.engine import spec as engine
from pvspec.engine.spec import Arm, Code, Spec
from pvspec.lang import model

from ..shipped import KERNELS

RUN = Path(__file__).parent.parent / "run"
SAMPLES = [RUN / "stacked.pvs", RUN / "slots.pvs"]

GUARDED = """
machine pc { bits 32  nops p6 { "90"  "66 90" }  choose nops p6 }
config SMP = kernel has smp_init
interface ops { table "t" { addr u32 type u8 len u8 clobber u16 } op halt 3 len 6 }
backend asks for ops {
    rom ask(n u8) { returns { where u32 type u8 }  0 none = keep  1 to = call where  otherwise = bug "no" }
    halt = ask(1) when config SMP and cpus == 1 else nop
}
family f { table "f" { site u32 to u32 }  reads v s32 at to  len 4  store v when v > 0 }
passes { f, ops }
"""
"""What none of the samples has: a configuration, a question to a rom, and a store, only under a condition."""


@cache
def lowered() -> list[tuple[Program, Spec]]:
    with TemporaryDirectory() as folder:
        guarded = Path(folder, "guarded.pvs")
        guarded.write_text(GUARDED, encoding="utf-8")
        programs = [check_spec(path).sound() for path in (*SAMPLES, guarded)]
    chosen = (kernel.program for kernel in KERNELS)
    return [(program, lower(program).spec) for program in (*programs, *chosen)]


def pairs() -> Iterator[tuple[Any, Any]]:
    """Each part of the model, and what became of it."""
    for program, found in lowered():
        of = program.spec
        yield of, found
        if of.interface is not None:
            yield of.interface, found.interface
            assert found.interface is not None
            yield of.interface.names, found.interface.names
        for name, backend in of.backends.items():
            yield backend, found.backends[name]
            yield backend.names, found.backends[name].names
            yield from ((rom, found.backends[name].roms[known]) for known, rom in backend.roms.items())
        for name, family in of.families.items():
            yield family, found.families[name]
            yield family.names, found.families[name].names


def chains() -> Iterator[tuple[Program, model.Chain, engine.Chain]]:
    """Each chain of the model, and what became of it."""
    for program, found in lowered():
        for name, backend in program.spec.backends.items():
            answers = found.backends[name]
            for rule in backend.rules:
                yield from ((program, rule.chain, answers.rules[op.name]) for op in rule.ops)
            yield program, backend.otherwise.chain if backend.otherwise else (), answers.otherwise
            for known, rom in backend.roms.items():
                yield program, rom.otherwise, answers.roms[known].otherwise
                assert rom.answers.keys() == answers.roms[known].chains.keys()
                for number, answer in rom.answers.items():
                    yield program, answer.chain, answers.roms[known].chains[number]
        for name, family in program.spec.families.items():
            yield program, family.rule, found.families[name].rule


LOWERED = {"interface", "backends", "families", "chains", "roms", "rules", "rule", "otherwise", "names", "numbers"}
"""Fields whose parts are pairs and chains of their own."""


def test_what_both_have_is_the_same() -> None:
    for of, found in pairs():
        for name in set(of._fields) & set(found._fields) - LOWERED:
            expected, lowered = getattr(of, name), getattr(found, name)
            if isinstance(lowered, frozenset):
                expected = frozenset(expected)
            assert lowered == expected, (type(found).__name__, name)
        for name in set(of._fields) & set(found._fields) & {"backends", "families", "roms"}:
            assert getattr(found, name).keys() == getattr(of, name).keys()


def test_what_they_call_otherwise_is_the_same() -> None:
    for of, found in pairs():
        if isinstance(of, model.Rom):
            assert found.answer == of.layout
        if isinstance(of, model.Interface):
            assert found.noreturn == {name for name, op in of.ops.items() if op.noreturn}
            assert found.numbers.keys() == set(of.configurations())
            for configuration, numbers in found.numbers.items():
                known = {op.name: op.numbers[configuration] for op in of.ops.values() if configuration in op.numbers}
                assert {name: number for number, name in numbers.items()} == known
                assert list(numbers) == sorted(numbers)


def test_each_arm_is_what_it_was() -> None:
    for program, chain, found in chains():
        assert len(chain) == len(found)
        for arm, lowered in zip(chain, found, strict=True):
            assert (lowered.where, lowered.guard) == (arm.span.where, arm.guard)
            for name in set(arm.action._fields) & set(lowered._fields):
                assert getattr(lowered, name) == getattr(arm.action, name)
            code = program.code.get(arm)
            assert isinstance(lowered, Code) == (code is not None)
            if code is not None:
                assert isinstance(lowered, Code)
                assert (lowered.data, lowered.holes, lowered.clobbers) == (code.data, code.holes, arm.mask)
            else:
                assert type(lowered).__name__ == type(arm.action).__name__


def test_each_field_is_used() -> None:
    """In some sample each field that can be by default is not, so what loses it is found above."""
    values: list[Any] = [found for _, found in pairs()] + [arm for *_, chain in chains() for arm in chain]
    used = {
        (type(value), name)
        for value in values
        for name in value._fields
        if getattr(value, name) and getattr(value, name) != getattr(type(value), name, None)
    }
    kinds = {type(value) for value in values}
    unused = {f"{kind.__name__}.{name}" for kind in kinds for name in kind._fields if (kind, name) not in used}
    assert kinds >= {Spec, engine.Interface, engine.Backend, engine.Family, engine.Rom, engine.Names, Code}
    assert unused == set()
    assert {kind for kind in kinds if issubclass(kind, engine.Rule)} == set(Arm.__args__)
