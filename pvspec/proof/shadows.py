"""Where a backend keeps its copy of the interrupt flag, in an emulated machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from pvspec.compiler.assemble import Program
from pvspec.engine.guards import Guard, OptionSet, evaluate, questions
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.x86.effects import effects

Options = Mapping[str, bool]


class ShadowFlag(Value):
    """Bytes of memory that represent a flag: it is 1 while they equal `number`, or, if `bits`, have one of its bits."""

    address: int
    size: int
    number: int
    bits: bool

    def flag(self, value: int) -> int:
        """The flag that this number in memory represents."""
        return int(value & self.number != 0 if self.bits else value == self.number)


def option_settings(
    backend: model.Backend, interface: model.Interface, guards: list[Guard | None]
) -> Iterator[Options]:
    """Every setting of the options that some guard tests; the others have their defaults."""
    defaults = {**interface.names.options, **backend.names.options}
    asked = {question.option for guard in guards for question in questions(guard) if isinstance(question, OptionSet)}
    names = sorted(asked & defaults.keys())
    for values in itertools.product((True, False), repeat=len(names)):
        yield {**defaults, **dict(zip(names, values, strict=True))}


def may_hold(guard: Guard | None, options: Options) -> bool:
    """Whether a guard can be true with these options, for some answers to its other questions."""
    return guard is None or evaluate(guard, model.OptionSettings(options)) is not False


def shadow_flag(
    backend: model.Backend, options: Options, program: Program, addresses: Mapping[str, int], bases: Mapping[str, int]
) -> ShadowFlag | None:
    """Where the backend keeps the flag with these options; None if it is in the CPU, as usual."""
    for shadow in backend.shadows:
        if shadow in program.shadows and may_hold(shadow.guard, options):
            code = program.shadows[shadow]
            ((access,),) = (effect.memory for effect in effects(code, program.spec.machine.bits))
            start = sum(addresses[hole.symbol] + hole.addend for hole in code.holes) + (
                access.displacement if not code.holes else 0
            )
            address = (start + bases.get(access.segment or "", 0)) & ((1 << program.spec.machine.bits) - 1)
            return ShadowFlag(address, access.size, shadow.number, shadow.bits)
    return None
