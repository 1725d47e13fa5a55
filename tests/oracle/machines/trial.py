"""A machine to try a kernel on: a CPU, how many of it there are, and a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

FIRST_WORD = "nokaslr"
"""Every command line begins with it, or memory would be laid out by chance."""


class TrialError(ValueError):
    """The JSON of a machine that is none; the text says why."""


@dataclass(frozen=True)
class Trial:
    """What a kernel is run on.

    `kind` is "realistic" or "odd". `vendor` to `microcode` are the CPU's, `base` is QEMU's model, `flags` what it has
    besides ("+ibpb") or lacks ("-smap"), in QEMU's words. `hidden` are features that QEMU has no words for, by the
    kernel's names: the CPU has them from the beginning. `late` are added or taken away ("+IBPB", "-BUG_MDS") at the
    moment at which the kernel decides. `capabilities` is what IA32_ARCH_CAPABILITIES reads as; None: as QEMU has it.
    `guest`: bits of the features that KVM announces (KVM_FEATURE_*); None: no hypervisor makes itself known.
    """

    kind: str = "realistic"
    vendor: str = "GenuineIntel"
    family: int = 6
    model: int = 0x55
    stepping: int = 7
    microcode: int = 1
    base: str = "qemu64"
    flags: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    capabilities: int | None = None
    guest: int | None = None
    cores: int = 1
    threads: int = 1
    words: tuple[str, ...] = ()

    @property
    def processors(self) -> int:
        """How many processors there are."""
        return self.cores * self.threads

    @property
    def cmdline(self) -> str:
        """The command line."""
        return " ".join([FIRST_WORD, *self.words])

    @property
    def cpu(self) -> str:
        """QEMU's -cpu."""
        revision = self.microcode << 32 if self.vendor == "GenuineIntel" else self.microcode
        given = {"vendor": self.vendor, "family": self.family, "model": self.model, "stepping": self.stepping}
        numbers = [f"{name}={value}" for name, value in given.items()]
        flags = [f"{flag[1:]}={'on' if flag[0] == '+' else 'off'}" for flag in self.flags]
        return ",".join([self.base, "x-force-features=on", *numbers, f"ucode-rev={revision:#x}", *flags])

    @property
    def smp(self) -> str:
        """QEMU's -smp."""
        return f"{self.processors},sockets=1,cores={self.cores},threads={self.threads}"

    def to_json(self) -> str:
        """What is not as in a plain machine, as JSON."""
        mine, plain = asdict(self), asdict(PLAIN)
        return json.dumps({name: value for name, value in mine.items() if value != plain[name]}, ensure_ascii=False)


PLAIN = Trial()


def from_json(text: str) -> Trial:
    """The machine that `Trial.to_json` wrote; TrialError."""
    try:
        told = json.loads(text)
        if not isinstance(told, dict):
            raise ValueError("it is no object")
        return of_fields(told)
    except ValueError as error:
        raise TrialError(f"not a machine: {error}") from None


def of_fields(told: Mapping[str, object]) -> Trial:
    """The machine with these fields, all others as in a plain one; ValueError."""
    plain = asdict(PLAIN)
    if unknown := sorted(set(told) - set(plain)):
        raise ValueError(f"a machine has no {', '.join(unknown)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    for name, value in values.items():
        kind = int | None if plain[name] is None else type(plain[name])
        if not isinstance(value, kind):
            raise ValueError(f"its {name} is {value!r}")
    return Trial(**{**plain, **values})
