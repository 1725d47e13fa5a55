"""What the compiler reports about a spec: codes, labels, and how they are rendered.

A pass collects `Diagnostic`s and returns them; only the command line prints.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from pvspec.engine.errors import PvspecError
from pvspec.engine.value import Value
from pvspec.lang.source import Span
from pvspec.support.json_data import Json

CODES = {
    # reading
    "PV001": "a spec file cannot be read",
    "PV002": "the text does not follow the grammar",
    "PV003": "a number, string or nesting beyond the language's limits",
    "PV004": "an include cycle",
    # names
    "PV101": "an unknown name",
    "PV102": "a name declared twice",
    "PV103": "a name that the language or the output reserves",
    "PV104": "a missing declaration",
    # numbers and shapes
    "PV201": "two ops with one number",
    "PV202": "a number out of range",
    "PV203": "a record that cannot be laid out",
    "PV204": "a nop table whose entries have the wrong length",
    "PV205": "bytes that are not hexadecimal",
    # rules
    "PV301": "code that fits no site",
    "PV302": "an arm that can never be reached",
    "PV303": "an op without a rule in a backend",
    "PV304": "a chain that refers to itself",
    "PV305": "an action without a meaning here",
    "PV306": "a site that can be read in two ways",
    "PV307": "a pass that destroys what a later one must recognise",
    # code
    "PV401": "a statement that cannot be assembled",
    "PV402": "bytes that are not instructions",
    "PV403": "code that breaks the op's calling contract",
    "PV404": "control that leaves the code",
    "PV405": "code that reads what is not an input",
    "PV406": "memory that nothing declares",
    "PV407": "a branch into an instruction",
    "PV408": "code that works in one place only",
    "PV409": "a hole that an address does not fit",
    "PV410": "an instruction that two disassemblers read differently",
    # tests in a spec
    "PV501": "a test whose outcome differs",
    "PV502": "an incomplete test",
    # proof
    "PV601": "a meaning that the contract does not allow",
    "PV602": "code that does not do what its op means",
    "PV603": "a nop that does something",
    # warnings
    "PV701": "a declaration that nothing uses",
    "PV702": "a feature that nothing tests",
    "PV703": "a decision that never matters",
}
_WARNINGS = "PV7"


class Label(Value):
    """A location in a spec and a remark about it."""

    span: Span
    text: str = ""


class Diagnostic(Value):
    """One finding: the first label is the location of the problem, the others are related locations."""

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None

    def __str__(self) -> str:
        return render(self)

    @property
    def severity(self) -> str:
        """`error`, or `warning` for something that works but is probably a mistake."""
        return "warning" if self.code.startswith(_WARNINGS) else "error"

    def sort_key(self) -> tuple[str, int, str, str]:
        """By file and position, then by code."""
        if not self.labels:
            return ("", 0, self.code, self.message)
        span = self.labels[0].span
        return (span.source.name, span.start, self.code, self.message)

    def as_json(self) -> dict[str, Json]:
        """The stable machine-readable form; see docs/commands.md."""
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "labels": [_label_json(label) for label in self.labels],
            "notes": list(self.notes),
            "help": self.help,
        }


class SpecError(PvspecError):
    """A spec is invalid; `diagnostics` says where and why."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        unique = {(d.sort_key(), d.notes): d for d in diagnostics}
        self.diagnostics = tuple(sorted(unique.values(), key=Diagnostic.sort_key))
        super().__init__("\n\n".join(render(d) for d in self.diagnostics))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Diagnostic, ...]]]:
        """Pickled by its findings: an exception is made anew of its arguments, and the text is none."""
        return type(self), (self.diagnostics,)


@dataclass
class Findings:
    """Collects the findings of a pass."""

    found: list[Diagnostic] = field(default_factory=list)

    def add(
        self,
        code: str,
        message: str,
        *labels: tuple[Span, str],
        notes: Iterable[str] = (),
        help: str | None = None,
    ) -> None:
        """Record one finding; the first label is the location of the problem."""
        assert code in CODES, code
        self.found.append(Diagnostic(code, message, tuple(Label(*x) for x in labels), tuple(notes), help))


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """A `did you mean` line for a misspelt word, or None."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else None


def count(number: int, what: str) -> str:
    """`1 byte`, `2 bytes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def printable(text: str) -> str:
    """The text with control characters escaped: a spec must not control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def render(diagnostic: Diagnostic) -> str:
    """The text that a user reads, without colour and without a final newline."""
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {printable(diagnostic.message)}"]
    width = max((len(str(label.span.line)) for label in diagnostic.labels), default=1)
    for label in diagnostic.labels:
        lines += _render_label(label, width, "^" if label is diagnostic.labels[0] else "-")
    bullets = [f"note: {note}" for note in diagnostic.notes]
    bullets += [f"help: {diagnostic.help}"] if diagnostic.help else []
    lines += [" " * width + f" = {printable(text)}" for text in bullets]
    return "\n".join(lines)


def _render_label(label: Label, width: int, mark: str) -> list[str]:
    span, gutter = label.span, " " * width
    line, column = span.line, span.column
    shown = span.source.line(line)[:_SHOWN].expandtabs(1)
    length = max(1, min(span.end - span.start, len(shown) - column + 1))
    before, marked = shown[: column - 1], shown[column - 1 :][:length]  # escapes are wider than the characters
    under = " " * len(printable(before)) + mark * max(1, len(printable(marked))) if column <= _SHOWN else ""
    tail = f"{under} {label.text}" if label.text else under
    return [
        f"{gutter}--> {printable(str(span))}",
        f"{gutter} |",
        f"{line:>{width}} | {printable(shown)}".rstrip(),
        f"{gutter} | {printable(tail)}".rstrip(),
    ]


def _label_json(label: Label) -> dict[str, Json]:
    span = label.span
    end_line, end_column = span.source.place(span.end)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
        "text": label.text,
    }


_SHOWN = 240  # columns of a line that are shown: a generated or hostile line may be very long
