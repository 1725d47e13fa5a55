"""A machine made at random: a seed and a number give the same one again.

Kernels that are tried with one seed have the same machines, but for some words that are each kernel's own.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .models import ANY_CAPABILITY, ANY_FLAG, ANY_LATE, INTEL, KVM, MODELS, UNSAFE, Generation, Model
from .numbers import PLACES
from .subject import Subject
from .trial import Trial
from .words import ordinary, spelt, tried

KINDS = ("realistic", "spelling", "odd")
_SHARE = (6, 2, 2)
_GUESTS = 0.12  # of all machines
_SHAPES = [(1, 1), (1, 1), (2, 1), (1, 2), (2, 2), (4, 1)]
"""Cores, and threads of each."""


def trial(subject: Subject, seed: str, number: int) -> Trial:
    """The machine of that number of a seed's."""
    chance = Random(f"{seed}.{number}")
    (kind,) = chance.choices(KINDS, _SHARE)
    model = chance.choice(MODELS)
    made = _of_model(chance, kind, model)
    if kind == "odd":
        made = _made_odd(chance, made)
    if chance.random() < _GUESTS and subject.image.bits == 64:
        made = _as_guest(chance, made)
    words = (spelt if kind == "spelling" else ordinary)(chance, tried(subject.parameters))
    return replace(made, words=tuple(words))


def _as_guest(chance: Random, made: Trial) -> Trial:
    """The machine as one of KVM's, all of whose features are there more often than not."""
    share = chance.choice([0.0, 0.5, 0.8, 1.0])
    features = sum(1 << bit for bit in KVM.values() if chance.random() < share)
    return replace(made, guest=features, flags=tuple(flag for flag in made.flags if flag[1:] != "hypervisor"))


def _of_model(chance: Random, kind: str, model: Model) -> Trial:
    """A CPU of this model, with the microcode that one such machine may have."""
    design = model.design
    state = chance.choice([0.0, 0.5, 0.8, 1.0])  # how new its microcode is
    cores, threads = chance.choice(_SHAPES)
    may = [flag for flag in design.may if chance.random() < state]
    capabilities = _capabilities(chance, design, state)
    if capabilities is not None and "arch-capabilities" not in (*design.flags, *may):
        may.append("arch-capabilities")
    off = [*UNSAFE, *([] if chance.random() < 0.1 else ["hypervisor"])]
    threaded = ["topoext"] if threads > 1 and model.vendor in ("AuthenticAMD", "HygonGenuine") else []
    return Trial(
        kind=kind,
        vendor=model.vendor,
        family=model.family,
        model=chance.choice(model.models),
        stepping=chance.randint(0, model.stepping),
        microcode=_microcode(chance, model),
        base=design.base,
        flags=(
            *(f"-{name}" for name in off),
            *(f"+{name}" for name in dict.fromkeys((*design.flags, *may, *threaded))),
        ),
        hidden=(*design.hidden, *(name for name in design.may_hide if chance.random() < state)),
        capabilities=capabilities,
        cores=cores,
        threads=threads,
    )


def _capabilities(chance: Random, design: Generation, state: float) -> int | None:
    if design.capabilities is None or (not design.capabilities and state < 0.8):
        return None
    return design.capabilities | sum(bit for bit in design.may_capabilities if chance.random() < state)


def _microcode(chance: Random, model: Model) -> int:
    """Revisions are below or above those that the kernel compares with."""
    if model.vendor == INTEL:
        return chance.choice([1, 0x11, 0xC2, 0x49, 0x2000065, 0x5003604, 0xB000040])
    return chance.choice([0x1000065, 0x8001250, 0x8301055, 0x830107C, 0xA0011D1, 0xA0011DB, 0xA101154, 0xB002200])


def _made_odd(chance: Random, made: Trial) -> Trial:
    """The machine with features added and taken away, and perhaps numbers that no CPU has."""
    flags = [f"{chance.choice('+-')}{name}" for name in chance.sample(ANY_FLAG, chance.randint(0, 8))]
    hidden = chance.sample(sorted(PLACES), chance.randint(0, 5))
    late = [f"{chance.choice('++-')}{name}" for name in chance.sample(ANY_LATE, chance.choice([0, 0, 0, 1, 2, 4, 6]))]
    if chance.random() < 0.3:
        made = replace(made, model=chance.randrange(256), stepping=chance.randrange(16))
    if made.capabilities is not None or chance.random() < 0.3:
        bits = chance.sample(ANY_CAPABILITY, chance.randint(0, 9))
        made, flags = replace(made, capabilities=sum(bits)), [*flags, "+arch-capabilities"]
    kept = (flag for flag in made.flags if not any(flag[1:] == other[1:] for other in flags))
    return replace(made, flags=(*kept, *flags), hidden=tuple(dict.fromkeys((*made.hidden, *hidden))), late=tuple(late))
