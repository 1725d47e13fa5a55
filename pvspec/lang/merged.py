"""What is found in a spec for several kernels: the same finding stands once, one of only some says for which."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from pvspec.lang.diagnostics import Diagnostic, Label
from pvspec.lang.parse import Built
from pvspec.lang.source import Span
from pvspec.lang.target import Target, listed

_UNUSED = frozenset(["PV701", "PV702", "PV703"])  # what another kernel may use
_TOLD_BY_NOTES = frozenset(["PV501", "PV602"])  # findings of which the same one has the same notes
_Key: TypeAlias = tuple[tuple[str, int, str, str], tuple[str, ...]]


class Parts:
    """The places in a spec that are for one kernel: those in its sources, without what is left out."""

    def __init__(self, files: Collection[Built]) -> None:
        self.left_out = sorted((span for file in files for span in file.left_out), key=_outer_first)
        self._holes = {file.source: list[tuple[int, int]]() for file in files}
        for span in self.left_out:
            holes = self._holes[span.source]
            if not holes or holes[-1][1] <= span.start:  # not a part of the last one
                holes.append((span.start, span.end))

    def __contains__(self, span: Span) -> bool:
        """Whether some of a place is for this kernel."""
        holes = self._holes.get(span.source)
        if holes is None:
            return False
        index = bisect_right(holes, span.start, key=lambda hole: hole[0])
        return index == 0 or holes[index - 1][1] < span.end


def merged(
    found: Mapping[Target, Sequence[Diagnostic]], parts: Mapping[Target, Parts], is_all: bool = True
) -> dict[Target, tuple[Diagnostic, ...]]:
    """Each finding once, for the first kernel that has it; what only some of them do not use is not unused.

    `is_all`: these are all kernels that the spec describes.
    """
    keys = {target: {_key(diagnostic) for diagnostic in diagnostics} for target, diagnostics in found.items()}
    told, left = set[_Key](), dict[Target, tuple[Diagnostic, ...]]()
    for target, diagnostics in found.items():
        first = {key: diagnostic for diagnostic in diagnostics if (key := _key(diagnostic)) not in told}
        told.update(first)
        left[target] = tuple(
            merged
            for key, diagnostic in first.items()
            if is_all or diagnostic.code not in _UNUSED
            for merged in _of_some(diagnostic, [other for other in keys if key in keys[other]], parts)
        )
    return left


def _of_some(diagnostic: Diagnostic, having: Collection[Target], parts: Mapping[Target, Parts]) -> Iterator[Diagnostic]:
    places = [label.span for label in diagnostic.labels[:1]]
    meant = [target for target, part in parts.items() if all(place in part for place in places)]
    if set(having).issuperset(meant):
        yield diagnostic
    elif diagnostic.code not in _UNUSED:
        yield diagnostic.changed(notes=(*diagnostic.notes, f"for {listed(having)}"))


def for_none(parts: Collection[Parts]) -> Iterator[Diagnostic]:
    """A warning for each part of a spec that is for none of its kernels: nobody looks at it."""
    last: Span | None = None
    for span in sorted({span for part in parts for span in part.left_out}, key=_outer_first):
        inside = last is not None and span.source is last.source and span.start < last.end
        if not inside and not any(span in part for part in parts):
            last = span
            yield Diagnostic("PV704", "a part that is for none of this spec's kernels", (Label(span, "never read"),))


def _outer_first(span: Span) -> tuple[str, int, int]:
    return span.source.name, span.start, -span.end


def _key(diagnostic: Diagnostic) -> _Key:
    return diagnostic.sort_key(), diagnostic.notes if diagnostic.code in _TOLD_BY_NOTES else ()
