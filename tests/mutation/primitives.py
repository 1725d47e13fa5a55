"""Everything that a site can become, every guard, every fact's check and every field of a spec, broken one by one."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from pvspec.engine import spec
from tests.mutation.mutant import ROOT, Mutant, replaced
from tests.mutation.table import TABLE

_GUARDS = "pvspec/engine/guards.py"
_DECIDE = "pvspec/engine/decide.py"
_CHECKED = ("pvspec/engine/decide.py", "pvspec/engine/facts.py", "pvspec/prediction/bind.py")
_LOWER = "pvspec/compiler/lower.py"
_STORED = "pvspec/compiler/stored.py"
_OPPOSITE = """

_answer = Decided.answer


def _opposite(kernel: Decided, question: Question) -> Condition:
    found = _answer(kernel, question)
    if not isinstance(question, {kind}):
        return found
    return not found if isinstance(found, bool) else lambda site: not found(site)


setattr(Decided, "answer", _opposite)
"""
_OTHER = {"==": "<=", "<=": "<", ">=": ">", "<": "<=", ">": ">="}


def mutants() -> Iterator[Mutant]:
    yield from _questions()
    yield from _comparisons()
    for file in _CHECKED:
        yield from _checks(file)
    yield from _fields()
    yield from _classes()
    for file, rows in TABLE.items():
        text = ROOT.joinpath(file).read_text(encoding="utf-8")
        for name, (old, new) in rows.items():
            assert text.count(old) == 1, f"{file}: {name}: {text.count(old)} times: {old}"
            yield Mutant(f"{file}: {name}", file, text.replace(old, new))


def _questions() -> Iterator[Mutant]:
    """Each class of `Question` is answered with the opposite."""
    text = ROOT.joinpath(_DECIDE).read_text(encoding="utf-8")
    for kind in _union("Question"):
        yield Mutant(f"{_DECIDE}: guard {kind} negated", _DECIDE, text + _OPPOSITE.format(kind=kind))


def _union(name: str) -> Iterator[str]:
    """The classes of a type alias in guards.py, and of those that it is made of."""
    aliases = {
        node.target.id: node.value
        for node in ast.parse(ROOT.joinpath(_GUARDS).read_text(encoding="utf-8")).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    for node in ast.walk(aliases[name]):
        if isinstance(node, ast.Name):
            yield from _union(node.id) if node.id in aliases else [node.id]


def _comparisons() -> Iterator[Mutant]:
    """Each comparison is off by one."""
    text = ROOT.joinpath(_DECIDE).read_text(encoding="utf-8")
    for sign, other in _OTHER.items():
        changed = text + f'\n_COMPARE["{sign}"] = _COMPARE["{other}"]\n'
        yield Mutant(f"{_DECIDE}: comparison {sign} taken for {other}", _DECIDE, changed)


def _checks(file: str) -> Iterator[Mutant]:
    """Each check is left out: a condition under which it raises, or a call for the sake of what that raises."""
    text, names = ROOT.joinpath(file).read_text(encoding="utf-8"), Counter[str]()
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
                what, place, instead = ast.unparse(node.test), node.test, "False"
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                if ast.unparse(node.value.func) == "assert_never":  # mypy's affair
                    continue
                what, place, instead = ast.unparse(node.value.func), node.value, "None"
            else:
                continue
            name = f"{file}: {function.name} does not check {what}"
            names[name] += 1
            number = f" {names[name]}" if names[name] > 1 else ""
            yield Mutant(name + number, file, replaced(text, place, instead))


def _fields() -> Iterator[Mutant]:
    """Each field of the engine's value is lost on the way from the model: it has its default, or is empty."""
    text = ROOT.joinpath(_LOWER).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("engine."):
            name = ast.unparse(node.func).removeprefix("engine.")
            kind = getattr(spec, name)
            for field, value in zip(kind._fields, node.args, strict=False):
                has_default = hasattr(kind, field)
                instead = f"engine.{name}.{field}" if has_default else f"type({ast.unparse(value)})()"
                if field not in ("layout", "machine", "answer"):  # classes with fields: empty, they raise at once
                    yield Mutant(f"{_LOWER}: {name} without {field}", _LOWER, replaced(text, value, instead))


def _classes() -> Iterator[Mutant]:
    """Each class of a spec is unknown to whoever reads the spec from data."""
    text = ROOT.joinpath(_STORED).read_text(encoding="utf-8")
    for part in ast.walk(ast.parse(text)):
        for kind in part.elts if isinstance(part, ast.Tuple) else ():
            if isinstance(kind, ast.Attribute):
                name = f"{_STORED}: {kind.attr} is no class of a spec"
                yield Mutant(name, _STORED, replaced(text, kind, "Map"))
