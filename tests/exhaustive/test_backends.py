"""The engine, and the printed module, against the model: every op, clobber mask and length of every configuration."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple, get_args

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.compiler.pipeline import load
from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchBug
from pvspec.engine.facts import Facts
from pvspec.support.paths import resource
from tests.exhaustive import model

SPEC = resource("specs", "linux-2.6.23", "i386")
LENGTHS = range(65)
MASKS = range(8)
ADDR = 0xC0101000
ORIGINAL = bytes(range(0x80, 0x80 + 64))
SYMBOLS = {"vcpu_info": 0xC0400100, "check_events": 0xC0123456, "irq_enabled": 0xC0400200}
NOP = 0xC0100040
# what the ROM answers to each call: every kind of relocation, and one that is none
ANSWERS = {29: (1, 0xFC001000), 30: (2, 0xFC002000), 31: (3, 0), 32: (0, 0), 33: (2, 0xFC003000), 34: (9, 0)}


class Patching(NamedTuple):
    """What is judged: what binds a kernel, its interface, and what it raises where the kernel has a BUG_ON."""

    bind: Callable[..., Any]
    interface: Any
    bug: type[Exception]


def engine() -> Patching:
    spec = load_spec(SPEC)
    return Patching(lambda backend, **facts: Kernel(Facts(spec, backend, **facts)), spec.interface, PatchBug)


def printout() -> Patching:
    module = load(SPEC)
    return Patching(module.bind, module.INTERFACE, module.PatchBug)


@pytest.fixture(scope="module", params=[engine, printout], ids=lambda one: one.__name__)
def patching(request: pytest.FixtureRequest) -> Patching:
    made: Patching = request.param()
    return made


def rom(call: int) -> int:
    kind, eip = ANSWERS[call]
    return eip | kind << 32 | 0xABCDEF << 40  # the reserved bytes count for nothing


def targets(numbers: dict[str, int], turn: int) -> dict[int, int]:
    """A function, null or paravirt_nop for each op; each op sees all three over three turns."""
    kinds = [0xC0200000, 0, NOP]
    return {n: kinds[(n + turn) % 3] + (0x40 * n if (n + turn) % 3 == 0 else 0) for n in numbers.values()}


def expected(backend: Any, site: tuple[int, int, int], world: model.World, config: model.Config) -> bytes | None:
    type_, clobber, length = site
    try:
        outcome = model.patch(backend, type_, clobber, ADDR, length, ORIGINAL[:length], world, config)
    except model.ModelBug:
        return None
    return model.pad(outcome, world.nops)


def got(kernel: Any, bug: type[Exception], type_: int, clobber: int, length: int) -> bytes | None:
    insnbuf = bytearray(ORIGINAL[:length])
    try:
        used = kernel.patch(type_, clobber, insnbuf, ADDR, length)
    except bug:
        return None
    kernel.pad(insnbuf, used, length)
    return bytes(insnbuf)


@pytest.mark.parametrize("config", model.CONFIGS, ids=lambda c: "-".join(k for k, v in c.items() if v) or "plain")
@pytest.mark.parametrize("backend", get_args(model.Backend))
def test_agrees_with_the_model(patching: Patching, backend: Any, config: model.Config) -> None:
    numbers = model.OPS[config["highpte"], config["pae"]]
    options = dict(config)
    for turn, nops in enumerate(get_args(model.Nops)):
        extra = {"have_vcpu_info_placement": turn != 1} if backend == "xen" else {}
        bound = targets(numbers, turn)
        world = model.World(
            targets=bound,
            paravirt_nop=NOP,
            symbols=SYMBOLS,
            rom=rom,
            nops=nops,
            **extra,
        )
        kernel = patching.bind(
            backend,
            targets=bound,
            symbols={**SYMBOLS, "paravirt_nop": NOP},
            options={**options, **extra},
            rom={"relocation": rom} if backend == "vmi" else {},
            nops=nops,
        )
        for site in product(numbers.values(), MASKS, LENGTHS):
            assert got(kernel, patching.bug, *site) == expected(backend, site, world, config), site


def test_every_op_has_its_number(patching: Patching) -> None:
    for config in model.CONFIGS:
        numbers = model.OPS[config["highpte"], config["pae"]]
        assert patching.interface.numbers[config["highpte"], config["pae"]] == {n: name for name, n in numbers.items()}
