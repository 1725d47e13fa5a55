"""Which files a command's arguments name, to read and to write."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pvspec.cli.report import Failure

_FILES = ("kernel", "vmlinux", "symbols", "state", "cpu", "vulnerabilities", "config", "texts", "include")
_SPECS = ("spec", "specs")
_OUTPUTS = ("output", "svg")


def inputs(arguments: argparse.Namespace) -> Iterator[Path]:
    """Files and folders to read, specs as they are named. Some may not exist, as a CPU that is a profile's name."""
    yield from _named(arguments, _FILES)
    yield from _named(arguments, _SPECS)


def readable(arguments: argparse.Namespace) -> Iterator[Path]:
    """Files and folders that the command has to be able to read: with a spec also its folder, for what it includes."""
    yield from _named(arguments, _FILES)
    for spec in _named(arguments, _SPECS):
        yield _folder(spec)


def outputs(arguments: argparse.Namespace) -> Iterator[Path]:
    """Files to write, but for specs that are written anew."""
    yield from _named(arguments, _OUTPUTS)


def rewritten(arguments: argparse.Namespace) -> Iterator[Path]:
    """Folders in which specs are written anew."""
    if getattr(arguments, "check", None) is False:  # `fmt`, which has --check
        for spec in _named(arguments, _SPECS):
            yield _folder(spec)


def keep_inputs(arguments: argparse.Namespace) -> None:
    """Failure if an output is one of the inputs, which it would replace."""
    for output in outputs(arguments):
        for path in inputs(arguments):
            with suppress(OSError, ValueError):
                if os.path.samefile(output, path):
                    raise Failure(f"{output} is read by this command; name another file to write")


def _folder(spec: Path) -> Path:
    return spec if os.path.isdir(spec) else spec.parent


def _named(arguments: argparse.Namespace, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        value: str | list[str] | None = getattr(arguments, name, None)
        yield from (Path(path) for path in ([value] if isinstance(value, str) else value or []))
