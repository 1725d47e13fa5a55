"""The shipped specs, and the kernels that they describe."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from pvspec.compiler.assemble import Program
from pvspec.compiler.pipeline import check_spec
from pvspec.support.paths import resource

LINUX, SEED = resource("specs", "linux"), resource("specs", "linux-2.6.23", "i386")
SPECS = [LINUX, SEED]
"""Their folders."""


class Kernel(NamedTuple):
    """A spec, and one of its kernels: version and machine, as a command takes them."""

    spec: Path
    kernel: str | None
    machine: str | None

    @property
    def program(self) -> Program:
        """The program for this kernel."""
        return _program(self)

    @property
    def options(self) -> list[str]:
        """A command's arguments that name it."""
        chosen = [] if self.kernel is None else ["--kernel", self.kernel, "--machine", str(self.machine)]
        return [str(self.spec), *chosen]

    def __str__(self) -> str:
        return "2.6.23-i386" if self.kernel is None else f"{self.kernel}-{self.machine}"


KERNELS = [
    Kernel(SEED, None, None),
    *(Kernel(LINUX, version, "x86_64") for version in ("5.10", "6.1", "6.12")),
    *(Kernel(LINUX, version, "i386") for version in ("5.10", "6.1")),
]


@cache
def _program(kernel: Kernel) -> Program:
    return check_spec(kernel.spec, kernel=kernel.kernel, machine=kernel.machine).sound()


def files() -> list[Path]:
    """All files of the shipped specs."""
    return sorted(path for folder in SPECS for path in folder.rglob("*.pvs"))
