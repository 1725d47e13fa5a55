"""Texts of others as they are shown: what cannot be seen is escaped."""

from __future__ import annotations

import re

HIDDEN = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""What Unicode counts as printable, and nobody sees (a class of a regular expression)."""
_HIDDEN = re.compile(f"[{HIDDEN}]")


def escaped(text: str) -> str:
    """The text with control characters, and all that cannot be seen, escaped: no input may steer the terminal."""
    if text.isascii() and text.isprintable():  # nearly always
        return text
    return "".join(c if c.isprintable() and not _HIDDEN.match(c) else _escape(c) for c in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
