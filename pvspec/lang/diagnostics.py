"""What the compiler reports about a spec: codes, labels, findings, and how much of them is reported.

A pass collects `Diagnostic`s and returns them; only the command line prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pvspec.engine.errors import PvspecError
from pvspec.engine.value import Value
from pvspec.lang.rendering import printable, rendered
from pvspec.lang.source import Span
from pvspec.support.json_data import Json
from pvspec.support.suggestions import Suggestions

MAX_WORK = 6_000_000
"""Work that reading and checking a spec may ask for, all of its files, kernels and stages together, in units of about a
microsecond; more is refused before it is done (PV003). Running its tests, proving it and simulating it may each ask for
as much again."""
MAX_REPORTED = 200
"""Errors of one spec that are reported, the first ones by file and place, and as many warnings; the last of them says
how many more there are."""
_MAX_LABELS = 10
"""Places that are shown with one finding; the others are only counted."""
_MAX_NOTES = 40
"""Notes that are shown with one finding; the others are only counted."""

CODES = {
    # reading
    "PV001": "a spec file cannot be read",
    "PV002": "the text does not follow the grammar",
    "PV003": "a number, string or nesting beyond the language's limits",
    "PV004": "an include cycle",
    "PV005": "an include of what the spec may not read",
    "PV006": "a character that cannot be seen",
    # names
    "PV101": "an unknown name",
    "PV102": "a name declared twice",
    "PV103": "a name that the language or the output reserves",
    "PV104": "a missing declaration",
    # kernels
    "PV105": "a version that parts none of a spec's kernels",
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
    "PV704": "a part that is for none of a spec's kernels",
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
    def shown(self) -> Diagnostic:
        """This one with as many places and notes as are shown, and a note of how many are not."""
        kinds = ((len(self.labels) - _MAX_LABELS, "place"), (len(self.notes) - _MAX_NOTES, "note"))
        more = [f"{count(number, f'more {what}')}, not shown" for number, what in kinds if number > 0]
        if not more:
            return self
        return self.changed(labels=self.labels[:_MAX_LABELS], notes=(*self.notes[:_MAX_NOTES], *more))

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
        shown = self.shown
        return {
            "severity": self.severity,
            "code": self.code,
            "message": printable(self.message),
            "labels": [_label_json(label) for label in shown.labels],
            "notes": [printable(note) for note in shown.notes],
            "help": None if self.help is None else printable(self.help),
        }


class SpecError(PvspecError):
    """A spec is invalid; `diagnostics` says where and why."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = reported(diagnostics)
        super().__init__("\n\n".join(map(render, self.diagnostics)))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Diagnostic, ...]]]:
        """Pickled by its findings: an exception is made anew of its arguments, and the text is none."""
        return type(self), (self.diagnostics,)


class TooMuchWork(SpecError):
    """A spec asks for more than MAX_WORK."""


class Work:
    """A meter that every stage adds to before it does what it announces, so that not each has a limit of its own."""

    def __init__(self) -> None:
        self.units = 0
        self.suggestions = Suggestions()

    def add(self, units: int, what: str, place: Span | None = None) -> None:
        """Count work that is about to be done; TooMuchWork, at the place that asks for it, if it is too much."""
        self.units += units
        if self.units > MAX_WORK:
            labels = (Label(place, what),) if place is not None else ()
            message = "this spec asks for more work than any spec may" + ("" if labels else f": {what}")
            help = "make it smaller, or split it into specs of their own"
            note = f"{self.units} units, of about a microsecond; {MAX_WORK} are allowed"
            raise TooMuchWork([Diagnostic("PV003", message, labels, (note,), help)])


@dataclass
class Findings:
    """Collects the findings of a pass, and counts the work of all."""

    found: list[Diagnostic] = field(default_factory=list)
    work: Work = field(default_factory=Work)

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
        self.work.add(_FINDING, "its errors")
        self.found.append(Diagnostic(code, message, tuple(Label(*x) for x in labels), tuple(notes), help))


_FINDING = 50  # units of work


def reported(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each finding once, sorted by place: the first MAX_REPORTED errors and warnings, and how many more there are."""
    unique = {(d.sort_key(), d.notes): d for d in diagnostics}
    found = sorted(unique.values(), key=Diagnostic.sort_key)
    if len(found) <= MAX_REPORTED:
        return tuple(found)
    errors = [diagnostic for diagnostic in found if diagnostic.severity == "error"]
    warnings = [diagnostic for diagnostic in found if diagnostic.severity == "warning"]
    return tuple(sorted((*_first(errors, "error"), *_first(warnings, "warning")), key=Diagnostic.sort_key))


def _first(found: list[Diagnostic], what: str) -> list[Diagnostic]:
    more = len(found) - MAX_REPORTED
    if more <= 0:
        return found
    *first, last = found[:MAX_REPORTED]
    return [*first, last.changed(notes=(*last.notes[:_MAX_NOTES], f"{count(more, f'more {what}')} in this spec"))]


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """A `did you mean` line for a misspelt word, or None."""
    return Suggestions().line(word, known)


def count(number: int, what: str) -> str:
    """`1 byte`, `2 bytes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def render(diagnostic: Diagnostic) -> str:
    """The text that a user reads, without colour and without a final newline."""
    shown = diagnostic.shown
    return rendered(
        f"{shown.severity}[{shown.code}]: {shown.message}",
        [(label.span, label.text) for label in shown.labels],
        [*(f"note: {note}" for note in shown.notes), *([f"help: {shown.help}"] if shown.help else [])],
    )


def _label_json(label: Label) -> dict[str, Json]:
    span = label.span
    end_line, end_column = span.source.place(span.end)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
        "text": printable(label.text),
    }
