"""Decisions that never matter: nothing asks for them before they are decided anew, or at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from pvspec.lang import syntax as ast
from pvspec.lang.check.uses import Uses, of_step
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span

_Key: TypeAlias = tuple[bool, str]  # whether it is a variable; else a feature
_Live: TypeAlias = frozenset[_Key]
_Anew: TypeAlias = Mapping[_Key, Span]  # where something is decided anew


def check_needless(items: Sequence[ast.Item], after: Uses, never: Iterable[str], findings: Findings) -> None:
    """PV703 for each decision that never matters.

    `after`: what is asked when all is decided; `never`: features and variables that are reported already.
    """
    decides = {item.name.text: item for item in items if isinstance(item, ast.Decide)}
    order = next(([name.text for name in item.names] for item in items if isinstance(item, ast.Policy)), list(decides))
    backwards = _Backwards(frozenset(never), findings)
    live, anew = backwards.keys(after), dict[_Key, Span]()
    for name in reversed(order):
        if name in decides:
            live, anew = backwards.steps(decides[name].steps, live, anew)


class _Backwards:
    """From the last step to the first: what is asked after each."""

    def __init__(self, never: frozenset[str], findings: Findings) -> None:
        self.never = never
        self.findings = findings

    def keys(self, uses: Uses) -> _Live:
        """What is asked; a word may be a variable."""
        return frozenset({*((False, name) for name in uses.features), *((True, word) for word in uses.words)})

    def steps(self, items: Sequence[ast.Step], live: _Live, anew: _Anew) -> tuple[_Live, dict[_Key, Span]]:
        """What is asked before steps, and what they decide anew, by what is so after them."""
        anew = dict(anew)
        for item in reversed(items):
            if isinstance(item, ast.Conditional):
                then, by_then = self.steps(item.then, live, anew)
                otherwise, by_otherwise = self.steps(item.otherwise, live, anew)
                live, anew = then | otherwise, {**by_then, **by_otherwise}
            decided = _decided(item)
            for key, span in decided.items():
                if key not in live and key[1] not in self.never:
                    self._report(key[1], span, anew.get(key))
            if isinstance(item, ast.Decision | ast.Assign) and item.guard is None and not _may_be_told(item):
                live = live - decided.keys()
                anew.update(decided)
            live |= self.keys(of_step(item))
        return live, anew

    def _report(self, name: str, span: Span, anew: Span | None) -> None:
        text = "overridden before anything tests it" if anew else "nothing tests it after this"
        where = [(anew, "here")] if anew else []
        self.findings.add("PV703", f"this decision about `{name}` never matters", (span, text), *where)


def _decided(item: ast.Step) -> dict[_Key, Span]:
    """What a step decides, and where it says so."""
    match item:
        case ast.Decision() | ast.OpenFact():
            return {(False, name.text): name.span for name in item.features}
        case ast.Assign():
            return {(True, item.variable.text): item.variable.span}
    return {}


def _may_be_told(item: ast.Decision | ast.Assign) -> bool:
    return isinstance(item, ast.Decision) and item.unless_told
