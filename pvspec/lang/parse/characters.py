"""Characters that nobody sees, or that change how a text is shown: what is read must be what is seen.

Outside strings and comments the grammar refuses them, too; in both they could show another text than the one that is
compiled (bidirectional controls), or hide a part of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from pvspec.lang.diagnostics import Diagnostic, Label, count
from pvspec.lang.source import Source, Span
from pvspec.support.escaping import HIDDEN

_MAX_HIDDEN = 20
"""Invisible characters of one file that are reported; the others are only counted."""
_PERHAPS = re.compile(f"[^\\t\\n\\x0c\\r -~\u00a1-\u00ac\u00ae-\u024f]|[{HIDDEN}]")
_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})  # controls, the unassigned, line separators
_HIDDEN = re.compile(f"[{HIDDEN}]")


def hidden_characters(source: Source) -> list[Diagnostic]:
    """A finding for each character of a text that cannot be seen, wherever it is."""
    if source.text.isascii() and not _PERHAPS.search(source.text):
        return []
    places = list(_places(source.text))
    found = [_finding(source, at) for at in places[:_MAX_HIDDEN]]
    if len(places) > _MAX_HIDDEN:
        more = f"{count(len(places) - _MAX_HIDDEN, 'more such character')} in this file"
        found[-1] = found[-1].changed(notes=(more,))
    return found


def is_hidden(char: str) -> bool:
    """Whether a character cannot be seen."""
    return unicodedata.category(char) in _CATEGORIES or _HIDDEN.match(char) is not None


def _places(text: str) -> Iterator[int]:
    known: dict[str, bool] = {}
    for found in _PERHAPS.finditer(text):
        char = found[0]
        if char not in known:
            known[char] = is_hidden(char)
        if known[char]:
            yield found.start()


def _finding(source: Source, at: int) -> Diagnostic:
    char = source.text[at]
    name = unicodedata.name(char, "control character" if char < "\xa0" else "unknown character")
    place = Label(Span(source, at, at + 1), f"U+{ord(char):04X} {name}")
    return Diagnostic("PV006", "a character that cannot be seen", (place,), help="remove it")
