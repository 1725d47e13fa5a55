"""The machine that a kernel runs on, as far as its text depends on it."""

from __future__ import annotations

from collections.abc import Mapping

from pvspec.engine.errors import PvspecError
from pvspec.engine.value import Map, Value
from pvspec.prediction.cpu import Processor

NATIVE = "native"
_CPUS = 2  # where nothing says how many there are
_THREADS, _NEWEST = 2, 0xFFFFFFFF  # threads of a core, and a microcode's revision, where nothing tells


class PredictionError(PvspecError):
    """A kernel's text cannot be predicted or patched; the message says why and what to do."""


class Machine(Value):
    """What the bytes depend on besides spec and image.

    `cpu`: what its CPU says of itself. `cpus`: processors that there were when it patched itself; None: as many as the
    cpuinfo has, but one alone leaves that open; 2 without a cpuinfo. `cmdline`: the kernel's command line.
    `hypervisor`: the name of a backend of the spec, "native" on bare metal. `features`: names or numbers of those that
    the kernel decided by; with a `cpu` those that it has besides, for the spec's policy; and `lacking` those that it
    lacks, whatever it says. `options` of the spec by name. `nops`: a nop table's name, where the kernel's own choice is
    not meant. `assumed`: features that the spec leaves open, by name, and where the cpuinfo lacks them "threads" (of a
    core) and "microcode" (its revision). `config`: what the kernel was configured with, by names without CONFIG_; what
    it lacks is not set. Without it the kernel's symbols tell.
    """

    cpu: Processor | None = None
    cpus: int | None = None
    cmdline: str = ""
    hypervisor: str = NATIVE
    features: tuple[str | int, ...] = ()
    lacking: tuple[str, ...] = ()
    options: Mapping[str, bool] = Map()
    nops: str | None = None
    assumed: Mapping[str, bool | int] = Map()
    config: Mapping[str, bool] | None = None

    def check(self) -> None:
        """PredictionError if the CPU is not a `Processor`, or features are a text; `Facts` checks everything else."""
        if self.cpu is not None and not isinstance(self.cpu, Processor):
            raise PredictionError(f"cpu is {self.cpu!r}: it must be what read_cpu or parse_cpuinfo returns")
        for what, names in (("features", self.features), ("lacking", self.lacking)):
            if not isinstance(names, tuple | list):
                raise PredictionError(f"{what} is {names!r}: it must be a tuple of names")

    @property
    def processors(self) -> int | None:
        """How many processors there were; None: nothing tells, since others than the one listed may be offline now."""
        if self.cpus is not None:
            return self.cpus
        listed = self.cpu.count if self.cpu else 0
        return None if listed == 1 else listed or _CPUS

    @property
    def likely(self) -> Mapping[str, int]:
        """What numbers that nothing tells most likely are."""
        listed = [1] if self.cpu is None else [1, self.cpu.siblings or 1, self.cpu.cores or 1]
        return Map({"cpus": max(listed), "threads": _THREADS, "microcode": _NEWEST})
