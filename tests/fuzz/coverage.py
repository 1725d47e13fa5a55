"""Which blocks of pvspec ran: marks that an import hook writes into its code.

A mark is one store into a bytearray, so that what runs with them is hardly slower, on every Python alike.
"""

from __future__ import annotations

import ast
import importlib
import marshal
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import cast

SEEN = bytearray(1 << 14)
_NAME = "__seen__"
_count = 0
_kept: Path | None = None
_modules: dict[str, range] = {}  # the numbers of each module's marks


def reached(prefixes: Sequence[str]) -> dict[str, float]:
    """How much of each module whose name begins like that was reached, in SEEN: from 0 to 1."""
    chosen = {name: marks for name, marks in _modules.items() if name.startswith(tuple(prefixes)) and marks}
    return {name: sum(SEEN[marks.start : marks.stop]) / len(marks) for name, marks in chosen.items()}


def blocks() -> int:
    """How many marks there are in what was imported."""
    return _count


def install(kept: Path | None = None) -> None:
    """From here on, pvspec is imported with marks; it must not have been imported yet.

    `kept` is a folder where code with marks is kept for other processes that import the same in the same order.
    """
    global _kept
    assert "pvspec" not in sys.modules
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    _kept = kept
    sys.meta_path.insert(0, _Finder())


def import_all() -> None:
    """Import all of pvspec, so that the numbers of marks are the same in each process, and no child has to."""
    import pvspec

    for module in sorted(found.name for found in pkgutil.walk_packages(pvspec.__path__, "pvspec.")):
        if not module.endswith("__main__"):
            importlib.import_module(module)


def marked(text: str | bytes, name: str) -> CodeType:
    """The code of a module's text, with marks; SEEN must be `__seen__` in the module."""
    tree = _Marks().visit(ast.parse(text, name))
    code: CodeType = compile(ast.fix_missing_locations(tree), name, "exec", dont_inherit=True)
    return code


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "pvspec":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        global _count
        first, stamp = _count, Path(self.path).stat().st_mtime_ns
        kept = _kept / f"{fullname}-{first}-{stamp}" if _kept else None
        if kept and kept.exists():
            _count, code = cast("tuple[int, CodeType]", marshal.loads(kept.read_bytes()))
        else:
            code = marked(self.get_data(self.path), self.path)
            if kept:
                whole = kept.with_name(f"{kept.name}.{os.getpid()}")
                whole.write_bytes(marshal.dumps((_count, code)))
                whole.replace(kept)
        _modules[fullname] = range(first, _count)
        return code

    def exec_module(self, module: ModuleType) -> None:
        vars(module)[_NAME] = SEEN
        super().exec_module(module)


class _Marks(ast.NodeTransformer):
    """A mark at the start of each block of statements, and of each expression that may be passed over."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case) and not isinstance(node, ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                statements = getattr(node, block, [])
                if statements:
                    text = isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant)
                    statements.insert(text, _statement())
        elif isinstance(node, ast.IfExp):
            node.body, node.orelse = _expression(node.body), _expression(node.orelse)
        elif isinstance(node, ast.BoolOp):
            node.values[1:] = map(_expression, node.values[1:])
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            node.elt = _expression(node.elt)
        elif isinstance(node, ast.Lambda):
            node.body = _expression(node.body)
        return node


def _next() -> str:
    global _count
    _count += 1
    return str(_count - 1)


def _statement() -> ast.stmt:
    return ast.parse(f"{_NAME}[{_next()}] = 1").body[0]


def _expression(node: ast.expr) -> ast.expr:
    mark = ast.parse(f"{_NAME}.__setitem__({_next()}, 1)", mode="eval").body
    return ast.BoolOp(ast.Or(), [mark, node])
