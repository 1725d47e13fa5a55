"""The engine's text, as printed modules contain it: one text, with all imports at the top."""

from __future__ import annotations

import re
from functools import cache

from pvspec.compiler.printout.literals import WIDTH
from pvspec.engine import PARTS
from pvspec.engine.value import Value
from pvspec.support.paths import resource


class Carried(Value):
    """The import lines that the engine's files need, and each file's name and text without its imports."""

    imports: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]


# what the printed functions themselves need
_OWN = {
    "collections.abc": ("Callable", "Iterable", "Mapping"),
    "enum": ("IntEnum",),
    "functools": ("cache",),
}


@cache
def carried() -> Carried:
    """The engine's files, read from this installation."""
    needs = {module: set(names) for module, names in _OWN.items()}
    parts = []
    for part in PARTS:
        text = resource("engine", f"{part}.py").read_text(encoding="utf-8")
        parts.append((part, _body(text, needs)))
    return Carried(tuple(_import_lines(needs)), tuple(parts))


def _body(text: str, needs: dict[str, set[str]]) -> str:
    """The text after the docstring and the imports; what it imports from the standard library is added to `needs`."""
    header = _HEADER.match(text)
    assert header is not None
    rest = _STATEMENT.search(text, header.end())
    assert rest is not None
    for statement in _IMPORT.finditer(text, header.end(), rest.start()):
        module, names = statement["module"], statement["names"]
        if module is None:
            needs.setdefault(statement["plain"], set())
        elif module.partition(".")[0] not in ("pvspec", "__future__"):
            needs.setdefault(module, set()).update(re.findall(r"\w+", names))
    return text[rest.start() :].strip("\n")


# The engine's files are ours, so their shape is known: docstring, imports at the margin, everything else. Reading
# them with `ast` costs a tenth of a small compilation.
_HEADER = re.compile(r'"""(?:.|\n)*?"""\n')
_IMPORT = re.compile(r"^(?:from (?P<module>[\w.]+) import (?P<names>\([^)]*\)|.*)|import (?P<plain>[\w.]+))$", re.M)
_STATEMENT = re.compile(r"^(?!from |import |\)|\s|\"\"\")(?=.)", re.M)


def _import_lines(needs: dict[str, set[str]]) -> list[str]:
    plain = [f"import {module}" for module, names in sorted(needs.items()) if not names]
    return plain + [_from_import(module, _sorted(names)) for module, names in sorted(needs.items()) if names]


def _from_import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    return line if len(line) <= WIDTH else f"from {module} import (\n{_lines(names)})"


def _sorted(names: set[str]) -> list[str]:
    """The order of ruff's isort: constants, then classes, then the rest."""
    return sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))


def _lines(names: list[str]) -> str:
    return "".join(f"    {name},\n" for name in names)
