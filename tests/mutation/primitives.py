"""Everything that a site can become, and every guard, broken one by one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.mutation.mutant import ROOT, Mutant
from tests.mutation.table import TABLE

_BINDING = "pvspec/engine/binding.py"
_BREAK = """

def _broken(condition: Any) -> Any:
    def broken(binding: Any, *parts: Any) -> Any:
        found = condition(binding, *parts)
        return not found if isinstance(found, bool) else lambda site: not found(site)

    return broken


_CONDITIONS["{kind}"] = _broken(_CONDITIONS["{kind}"])
"""
_OTHER = {"==": "<=", "<=": "<", ">=": ">", "<": "<=", ">": ">="}


def mutants() -> Iterator[Mutant]:
    yield from _guards()
    yield from _comparisons()
    for file, rows in TABLE.items():
        text = ROOT.joinpath(file).read_text(encoding="utf-8")
        for name, (old, new) in rows.items():
            assert text.count(old) == 1, f"{file}: {name}: {text.count(old)} times: {old}"
            yield Mutant(f"{file}: {name}", file, text.replace(old, new))


def _guards() -> Iterator[Mutant]:
    """Each kind answers the opposite."""
    text = ROOT.joinpath(_BINDING).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_CONDITIONS":
            assert isinstance(node.value, ast.Dict)
            for key in node.value.keys:
                kind = ast.literal_eval(key) if key is not None else ""
                yield Mutant(f"{_BINDING}: guard {kind} negated", _BINDING, text + _BREAK.format(kind=kind))


def _comparisons() -> Iterator[Mutant]:
    """Each comparison is off by one."""
    text = ROOT.joinpath(_BINDING).read_text(encoding="utf-8")
    for sign, other in _OTHER.items():
        changed = text + f'\n_COMPARE["{sign}"] = _COMPARE["{other}"]\n'
        yield Mutant(f"{_BINDING}: comparison {sign} taken for {other}", _BINDING, changed)
