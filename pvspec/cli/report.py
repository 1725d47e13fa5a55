"""What a command has to say, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pvspec
from pvspec.cli.json_text import Streamed
from pvspec.support.escaping import escaped
from pvspec.support.json_data import Json as Json


class Failure(Exception):
    """A command cannot go on: the input or its surroundings are wrong."""


class Report:
    """The outcome of one command; `result` is what `--json` adds to it, of which long lists may be iterators.

    An iterator must not fail: what comes before is written already.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.lines: list[str] = []
        self.diagnostics: list[pvspec.Diagnostic] = []
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.result: Mapping[str, Streamed] = {}

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong; a warning is not."""
        return not self.errors and all(diagnostic.severity == "warning" for diagnostic in self.diagnostics)

    def say(self, line: str) -> None:
        """A line for people."""
        self.lines.append(escaped(line))

    def fail(self, message: str) -> None:
        """An error without a place in a spec."""
        self.errors.append(message)

    def warn(self, messages: Iterable[str]) -> None:
        """What may be amiss, but is no error."""
        self.warnings += messages

    def found(self, diagnostics: Iterable[pvspec.Diagnostic]) -> None:
        """Findings about a spec."""
        self.diagnostics += diagnostics

    def problems(self) -> Iterator[str]:
        """Texts for the error stream."""
        yield from map(str, self.diagnostics)
        yield from (f"warning: {escaped(message)}" for message in self.warnings)
        yield from (f"error: {escaped(message)}" for message in self.errors)

    def as_json(self) -> dict[str, Streamed]:
        """The stable form for machines; see docs/commands.md."""
        return {
            "command": self.command,
            "ok": self.ok,
            "diagnostics": [diagnostic.as_json() for diagnostic in self.diagnostics],
            "errors": [*self.errors],
            **self.result,
        }
