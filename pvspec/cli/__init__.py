"""The command line: one file a command in `commands/`, a thin caller of the API.

Nothing heavy is imported before a command needs it, and no command but the one that is run.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, Protocol, cast

from pvspec import __version__
from pvspec.cli.inputs import keep_inputs
from pvspec.cli.json_text import pieces
from pvspec.cli.outcome import EXHAUSTED, UNLOADED, complain, conclude, exhaustion, say
from pvspec.cli.report import Failure, Report
from pvspec.support.escaping import escaped

CONFINED = "--confined"
COMMANDS = (
    "compile",
    "check",
    "test",
    "prove",
    "fmt",
    "expand",
    "apply",
    "predict",
    "explain",
    "diff-text",
    "simulate",
)


class Command(Protocol):
    """A module of `commands/`: HELP is one line."""

    HELP: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, arguments: argparse.Namespace, report: Report) -> None:
        """Run it; Failure, or what the API raises, if it cannot go on."""


@contextmanager
def _without_collector() -> Iterator[None]:
    """A run is short, and the collector would take a tenth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0: fine, 1: the input is wrong or a test failed, 2: wrong usage; else see `conclude`."""
    return conclude(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(words: list[str]) -> int:
    confined = words[:1] == [CONFINED]
    name, parsed = _parsed(words[confined:])
    command, report = _command(name), Report(name)
    try:
        keep_inputs(parsed)
        if confined:
            from pvspec.cli.confined import confine_command

            confine_command(parsed)
        command.run(parsed, report)
    except Failure as failure:
        report.fail(str(failure))
    except (*EXHAUSTED, *UNLOADED) as error:
        report.fail(exhaustion(error))
    except OSError as error:  # where nothing is expected to fail, as with a current folder that has been deleted
        report.fail(f"{error.filename or 'the current folder'}: {error.strerror or error}")
    _show(report, bool(parsed.json))
    return 0 if report.ok else 1


def _quiet_logging() -> None:
    """Nobody here logs, but `hashlib` does, at length, if there is no memory to load what it needs."""
    import logging

    logging.disable()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(escaped(message))


def _command(name: str) -> Command:
    return cast("Command", importlib.import_module(f"pvspec.cli.commands.{name.replace('-', '_')}"))


def _parsed(words: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """The command and its arguments; only that command is imported. Without one: help, version, or wrong usage."""
    if words and words[0] in COMMANDS:
        _quiet_logging()
        name, command = words[0], _command(words[0])
        parser = _Parser(prog=f"pvspec {name}", description=f"{command.HELP[0].upper()}{command.HELP[1:]}.")
        command.arguments(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object for machines")
        return name, parser.parse_args(words[1:])
    parser = _Parser(prog="pvspec", description="Predict and check how a Linux kernel patches its own code.")
    parser.add_argument("--version", action="version", version=f"pvspec {__version__}")
    parser.add_argument(
        CONFINED, action="store_true", help="read only what the command names, and use 10 s and 1 GiB at most"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        commands.add_parser(name, help=_command(name).HELP)
    parser.parse_args(words)
    raise AssertionError("a command that is none is wrong usage")


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        for text in pieces(report.as_json()):
            say(text)
        say("\n")
        return
    for text in report.problems():
        complain(f"{text}\n")
    if report.lines:
        say("".join(f"{line}\n" for line in report.lines))
