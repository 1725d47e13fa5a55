"""lark's errors in the words of a spec's author."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lark.exceptions import UnexpectedCharacters, UnexpectedInput

from pvspec.lang.diagnostics import Diagnostic, Label, suggestion
from pvspec.lang.parse.grammar import keywords
from pvspec.lang.source import Source, Span


def syntax_error(source: Source, error: UnexpectedInput) -> Diagnostic:
    """Where the text leaves the grammar, and what could have stood there."""
    at = error.pos_in_stream if error.pos_in_stream is not None else len(source.text)
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        at, word, message = len(source.text.rstrip()), "", "the file ends in the middle of something"
    else:
        word = _word_at(source.text, at) if token is None else str(token)
        message = f"`{_shorten(word)}` cannot stand here"
    if isinstance(error, UnexpectedCharacters) and source.text.startswith('"', at):
        message = "a string that does not end"
    expected = error.allowed if isinstance(error, UnexpectedCharacters) else getattr(error, "accepts", None)
    expected = expected or getattr(error, "expected", ())
    wanted = _wanted(expected or ())
    label = Label(Span(source, at, max(at + len(word), at + 1)), f"expected {wanted}" if wanted else "")
    help = suggestion(word, _keywords(expected or ())) or _misspelt_before(source.text, at)
    return Diagnostic("PV002", message, (label,), help=help)


def _misspelt_before(text: str, at: int) -> str | None:
    """A word that was taken for a name may have been meant for a keyword."""
    match = re.search(r"(\w+)\s*$", text[max(0, at - 80) : at])
    return suggestion(match[1], _keywords(keywords())) if match and match[1] not in _keywords(keywords()) else None


def _word_at(text: str, at: int) -> str:
    match = re.compile(r"\w+|\S|$").match(text, at)
    return match.group() if match else ""


def _shorten(word: str) -> str:
    return word if len(word) <= 40 else word[:37] + "…"


_SPOKEN = {
    "NAME": "a name",
    "INT": "a number",
    "STRING": "a string",
    "LONG_STRING": "",
    "TYPE": "a type (u8, rel32, …)",
}


def _keywords(terminals: Iterable[str]) -> list[str]:
    return [keywords()[t] for t in terminals if t in keywords() and keywords()[t].isalpha()]


def _wanted(terminals: Iterable[str]) -> str:
    spoken = {_SPOKEN.get(t, f"`{keywords()[t]}`" if t in keywords() else "") for t in terminals}
    words = sorted(spoken - {""})
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
