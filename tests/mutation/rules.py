"""Each report of the checker: suppressed, or its condition negated."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.mutation.mutant import ROOT, Mutant, replaced

_FILES = (
    "compiler/assemble.py",
    "lang/files.py",
    "lang/check/*.py",
    "compiler/sound/*.py",
    "proof/*.py",
    "spectest/*.py",
)


def mutants() -> Iterator[Mutant]:
    """Two for each place that reports a finding, one where no condition stands before it."""
    files = [path for pattern in _FILES for path in sorted(ROOT.joinpath("pvspec").glob(pattern))]
    reporters = {"add", *(name for path in files for name in _reporters(ast.parse(path.read_text(encoding="utf-8"))))}
    for path in files:
        yield from _Reports(path, reporters).mutants


def _reporters(tree: ast.Module) -> Iterator[str]:
    """Functions that report whenever they are called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(_is_add(statement) for statement in node.body):
            yield node.name


def _is_add(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) == "findings.add"


def _called(call: ast.Call) -> str:
    """The last two parts of the name."""
    return ".".join(ast.unparse(call.func).split(".")[-2:])


class _Reports(ast.NodeVisitor):
    """The mutants of one file, found on the way down: functions and conditions above are known."""

    def __init__(self, path: Path, reporters: set[str]) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.file = path.relative_to(ROOT).as_posix()
        self.reporters = reporters
        self.mutants: list[Mutant] = []
        self._function, self._tests = "", list[ast.expr]()
        self._names = Counter[str]()
        self._negated = set[ast.expr]()
        self.visit(ast.parse(self.text))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._function, self._tests
        self._function, self._tests = node.name, []
        self.generic_visit(node)
        self._function, self._tests = outer

    def visit_If(self, node: ast.If) -> None:
        self._tests.append(node.test)
        self.generic_visit(node)
        self._tests.pop()

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and self._reports(node.value):
            code = next((str(a.value) for a in node.value.args if isinstance(a, ast.Constant)), "")
            what = f"{self._function} {code}" if code.startswith("PV") else f"{self._function} {_called(node.value)}"
            self._add(f"{what} suppressed", node, "pass")
            if self._tests and self._tests[-1] not in self._negated:
                self._negated.add(self._tests[-1])
                self._add(f"{what} negated", self._tests[-1], f"not ({ast.unparse(self._tests[-1])})")

    def _reports(self, call: ast.Call) -> bool:
        first, _, last = _called(call).rpartition(".")
        return last in self.reporters and (last != "add" or first == "findings")

    def _add(self, what: str, node: ast.expr | ast.stmt, instead: str) -> None:
        self._names[what] += 1
        number = f" {self._names[what]}" if self._names[what] > 1 else ""
        text = replaced(self.text, node, instead)
        self.mutants.append(Mutant(f"{self.file}: {what}{number}", self.file, text))
