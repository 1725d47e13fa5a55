"""The runtime's text, as generated modules carry it: one text, its imports gathered on top."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache

from pvspec.resources import resource
from pvspec.runtime import PARTS


@dataclass(frozen=True)
class Carried:
    """The import lines that the runtime's files need, and each file's name and text without its imports."""

    imports: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]


# what the generated functions themselves need
_OWN = {"collections.abc": ("Callable", "Iterable", "Mapping"), "enum": ("IntEnum",), "typing": ("Any",)}


@cache
def carried() -> Carried:
    """The runtime's files, read from this installation."""
    needs = {module: set(names) for module, names in _OWN.items()}
    parts = []
    for part in PARTS:
        text = resource("runtime", f"{part}.py").read_text(encoding="utf-8")
        parts.append((part, _body(text, needs)))
    return Carried(tuple(_import_lines(needs)), tuple(parts))


def _body(text: str, needs: dict[str, set[str]]) -> str:
    """The text behind docstring and imports; what it imports from the standard library goes to `needs`."""
    end = 0
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            if statement.module.split(".")[0] not in ("pvspec", "__future__"):
                needs.setdefault(statement.module, set()).update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                needs.setdefault(alias.name, set())
        elif not isinstance(statement, ast.Expr):
            break
        end = statement.end_lineno or end
    return "\n".join(text.splitlines()[end:]).strip("\n")


def _import_lines(needs: dict[str, set[str]]) -> list[str]:
    plain = [f"import {module}" for module, names in sorted(needs.items()) if not names]
    named = [f"from {module} import {', '.join(_sorted(names))}" for module, names in sorted(needs.items()) if names]
    return plain + named


def _sorted(names: set[str]) -> list[str]:
    """As ruff's isort has it: constants, then classes, then the rest."""
    return sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
