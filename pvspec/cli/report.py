"""What a command has to say, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pvspec import Diagnostic

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"


class Failure(Exception):
    """A command cannot go on: the input or its surroundings are wrong."""


@dataclass
class Report:
    """The outcome of one command; `result` is what `--json` adds to it."""

    command: str
    lines: list[str] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    result: dict[str, Json] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong; a warning is not."""
        return not self.errors and all(diagnostic.severity == "warning" for diagnostic in self.diagnostics)

    def say(self, line: str) -> None:
        """A line for people."""
        self.lines.append(printable(line))

    def fail(self, message: str) -> None:
        """An error without a place in a spec."""
        self.errors.append(message)

    def found(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Findings about a spec."""
        self.diagnostics += diagnostics

    def problems(self) -> Iterator[str]:
        """Texts for the error stream."""
        yield from map(str, self.diagnostics)
        yield from (f"error: {printable(message)}" for message in self.errors)

    def as_json(self) -> dict[str, Json]:
        """The stable form for machines; see docs/commands.md."""
        return {
            "command": self.command,
            "ok": self.ok,
            "diagnostics": [diagnostic.as_json() for diagnostic in self.diagnostics],
            "errors": [*self.errors],
            **self.result,
        }


def printable(text: str) -> str:
    """The text with control characters escaped: no input may steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
