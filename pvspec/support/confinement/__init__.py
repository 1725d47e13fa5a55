"""A process that gives up, for good, what it does not need: then an input that takes it over gains little.

Landlock takes the file system: what is left is to read some paths, and to make files in some folders. A seccomp filter
takes the network, other processes, other programs and most of the kernel's interface. Limits bound what is left. All
three are needed: without one of them `confine` is an error, since a sandbox with a hole is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pvspec.support.confinement.landlock import Rules
from pvspec.support.confinement.limits import limit_resources
from pvspec.support.confinement.seccomp import filter_calls
from pvspec.support.confinement.system import ConfinementError, keep_memory_private, renounce_privileges

__all__ = ["ConfinementError", "confine"]


def confine(read: Iterable[Path], make: Iterable[Path], replace: Iterable[Path]) -> None:
    """Confine this process to reading files and folders, to making files in folders, and to replacing files in folders.

    Paths that do not exist are passed over. ConfinementError if the system cannot confine it, or not wholly; then the
    process must end.
    """
    rules = Rules()
    for path in read:
        rules.read(path)
    for path in make:
        rules.make_files(path)
    for path in replace:
        rules.replace_files(path)
    limit_resources()
    keep_memory_private()
    renounce_privileges()
    rules.enforce()
    filter_calls()
