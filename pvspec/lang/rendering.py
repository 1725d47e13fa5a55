"""How a finding is shown: what is said, the lines that it is about, and marks under the places."""

from __future__ import annotations

from collections.abc import Sequence

from pvspec.lang.source import Span
from pvspec.support.escaping import escaped

_MAX_SHOWN = 240
"""Columns of a spec's line that are shown with a finding, around the place that it is about if the line is longer."""
_MAX_MESSAGE = 2000
"""Characters of one message, note or remark that are shown; of a longer one the beginning."""
_BEFORE = 80  # columns before a place that is far to the right


def printable(text: str) -> str:
    """The text with what cannot be seen escaped, and not too long: a spec must not control the terminal."""
    if len(text) > _MAX_MESSAGE:
        text = text[:_MAX_MESSAGE] + "…"
    return escaped(text)


def rendered(message: str, places: Sequence[tuple[Span, str]], bullets: Sequence[str]) -> str:
    """A message, the places that it is about, each with a remark, the first one the most important, and bullets."""
    lines = [printable(message)]
    width = max((len(str(span.line)) for span, _ in places), default=1)
    for number, (span, text) in enumerate(places):
        lines += _place(span, text, width, "-" if number else "^")
    return "\n".join([*lines, *(" " * width + f" = {printable(bullet)}" for bullet in bullets)])


def _place(span: Span, text: str, width: int, mark: str) -> list[str]:
    gutter, line = " " * width, span.line
    first = max(0, span.column - 1 - _BEFORE) if span.column > _MAX_SHOWN else 0
    shown = span.source.line(line, first, _MAX_SHOWN).expandtabs(1)
    cut = "…" if first else ""
    at = span.column - 1 - first
    length = max(1, min(span.end - span.start, len(shown) - at))
    before, marked = cut + escaped(shown[:at]), shown[at : at + length]  # escapes are wider than the characters
    under = " " * len(before) + mark * max(1, len(escaped(marked)))
    return [
        f"{gutter}--> {escaped(str(span))}",
        f"{gutter} |",
        f"{line:>{width}} | {cut}{escaped(shown)}".rstrip(),
        f"{gutter} | {under} {printable(text)}".rstrip(),
    ]
