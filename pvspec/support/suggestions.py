"""What a misspelt word may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_MAX_WORD = 48
"""Characters of a misspelt word beyond which no other word is suggested for it."""
_MAX_SUGGESTING = 600_000
"""Work that all suggestions for one spec may cost, in units of about a microsecond; after that words are refused
without a suggestion."""
_LIKE = 0.6  # how much two words must have in common, of 1
_LOOK = 10  # units that one look at a known word costs; a comparison costs the product of the lengths


class Suggestions:
    """Suggestions, until they have cost too much."""

    def __init__(self) -> None:
        self.left = _MAX_SUGGESTING

    def line(self, word: str, known: Iterable[str]) -> str | None:
        """A `did you mean` line for a misspelt word, or None."""
        near = self.nearest(word, known)
        return None if near is None else f"did you mean `{near}`?"

    def nearest(self, word: str, known: Iterable[str]) -> str | None:
        """The known word that is most like a misspelt one; None if none is, or all have cost too much."""
        if len(word) > _MAX_WORD or self.left <= 0:
            return None
        matcher = SequenceMatcher(b=word)
        best: tuple[float, str] | None = None
        for other in sorted({other for other in known if len(other) <= 2 * _MAX_WORD}):
            self.left -= _LOOK
            if self.left <= 0:
                return None
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() < _LIKE or matcher.quick_ratio() < _LIKE:
                continue
            self.left -= len(word) * len(other)
            ratio = matcher.ratio()
            if ratio >= _LIKE and (best is None or (ratio, other) > best):
                best = ratio, other
        return None if best is None else best[1]
