"""A small i386 machine that patches itself while it runs: the bug that marshalling fixed, replayed; and what is left.

`guest` is the machine's memory, `strategies` are the ways to patch. `replay` is one processor that runs what it
patches, `interleave` adds a second one, `claims` are what both must show, and `report` presents the results.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pvspec.engine.spec import Spec
from pvspec.simulation.claims import Simulation, simulate_guest
from pvspec.simulation.guest import SimulationError, build
from pvspec.simulation.strategies import STRATEGIES
from pvspec.support.paths import resource

__all__ = ["STRATEGIES", "Simulation", "SimulationError", "simulate"]


def simulate(
    spec: Spec | str | os.PathLike[str] | None = None,
    *,
    backend: str = "xen",
    strategies: Sequence[str] = tuple(STRATEGIES),
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Simulation:
    """Replay strategies for patching in a small kernel that runs what it patches.

    `spec`: an i386 spec with a table of ops' sites, or its path; by default, that of Linux 2.6.23. `backend`: which of
    its backends to use. `kernel` and `machine`: which of the spec's kernels is meant, as "5.10" and "i386"; TargetError
    if none is, or several may be. `include`: folders of which the spec may include files, besides its own and the
    shipped specs. SpecError if the spec is invalid; SimulationError if it does not fit the guest, or a strategy is
    unknown.
    """
    from pvspec.compiler.cached import load_spec

    for name in strategies:
        if name not in STRATEGIES:
            raise SimulationError(f"unknown strategy {name!r}; expected one of: {', '.join(STRATEGIES)}")
    if not isinstance(spec, Spec):
        path = Path(spec) if spec is not None else resource("specs", "linux-2.6.23", "i386")
        spec = load_spec(path, kernel=kernel, machine=machine, include=include)
    return simulate_guest(build(spec, backend), strategies)
