"""`pvspec --confined COMMAND`: the process gives up what the command does not need before it reads an input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pvspec.cli.inputs import inputs, outputs, readable, rewritten
from pvspec.cli.report import Failure
from pvspec.support.confinement import ConfinementError, confine
from pvspec.support.paths import cache_folder, resource

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/dev/urandom")
"""Shared libraries of the system, and how they are found."""

_FIRST = 3  # the first descriptor that is no standard stream


def confine_command(arguments: argparse.Namespace) -> None:
    """Confine this process to what a command with these arguments needs; Failure if the system cannot.

    It can read the inputs, the programs that it consists of, and the cache; and make files where an output is to be.
    It cannot write to the cache: what an attacker leaves there would wait for a run that is not confined.
    """
    new: list[Path] = []
    old = [*rewritten(arguments)]
    for path in outputs(arguments):
        (old if os.path.lexists(path) else new).append(path.parent)
    read = [*readable(arguments), *outputs(arguments), *_own(), *_libraries()]
    _close_others(arguments)
    try:
        confine(read, new, old)
    except (ConfinementError, OSError) as error:
        raise Failure(f"this process cannot be confined, so nothing was read: {error}") from None


def _close_others(arguments: argparse.Namespace) -> None:
    """Close what this process inherited open, but for what an argument names, as the shell's `<(…)` does."""
    named = {path.name for path in inputs(arguments) if path.parent.name == "fd"}
    for number in map(int, os.listdir("/proc/self/fd")):
        if number >= _FIRST and str(number) not in named:
            with suppress(OSError):  # the folder that is listed here
                os.close(number)


def _own() -> Iterator[Path]:
    """What pvspec consists of, and its cache."""
    yield Path(__file__).parent.parent
    yield from (resource(name) for name in ("grammar", "specs", "templates"))
    cache = cache_folder()
    if cache is not None:
        with suppress(OSError):
            if cache.stat().st_uid == os.geteuid():
                yield cache


def _libraries() -> Iterator[Path]:
    """Folders of libraries: the system's, and Python's module search path, but for folders in which the user works.

    Those would be all that he has; `python -m` puts the current one there.
    """
    yield from map(Path, _SYSTEM)
    yield from map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
    ours = [Path(os.path.expanduser("~"))]
    with suppress(OSError):  # the current folder may have been deleted
        ours.append(Path.cwd())
    for entry in filter(os.path.isabs, sys.path):
        if not any(folder.is_relative_to(entry) for folder in ours):
            yield Path(entry)
