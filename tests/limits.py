"""The bounds on what an input can cost, read from the code, and the tables of docs/limits.md that show them.

A bound is a constant of a module whose name begins with `MAX_` or `_MAX_`. The string below it says what it bounds, in
which unit, and what happens beyond it. What only shortens a message, or is a fact of x86, has another name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pvspec

PACKAGE = Path(pvspec.__file__).parent
PAGE = PACKAGE.parent / "docs" / "limits.md"
BEGIN, END = "<!-- bounds: pytest --bless -->\n", "<!-- end of bounds -->\n"
GROUPS = {
    "Images and packages": ("kernel/errors.py", "kernel/work.py", "kernel/files/", "kernel/image/"),
    "Symbols": ("kernel/symbols/",),
    "Dumps": ("kernel/dump/",),
    "CPUs and tables": ("prediction/", "engine/"),
    "Specs": ("lang/", "compiler/", "x86/"),
    "Tests, proofs, simulations": ("spectest/", "proof/", "simulation/"),
    "Command line": ("cli/", "__main__.py"),
    "Cache and files": ("support/",),
}
"""What a user meets, and the files that it is made of."""


@dataclass(frozen=True)
class Bound:
    """One bound: where it is, what it is, and what the string below it says (empty if there is none)."""

    file: str
    name: str
    value: object
    text: str

    def __str__(self) -> str:
        return f"pvspec/{self.file}: {self.name}"


def bounds() -> Iterator[Bound]:
    """All bounds of the package, by file, in the order of the code."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield from bounds_of(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))


def bounds_of(file: str, code: str) -> Iterator[Bound]:
    """The bounds in the code of one file of the package."""
    body = ast.parse(code).body
    for statement, below in zip(body, [*body[1:], None], strict=True):
        for name in _assigned(statement):
            if re.match("_?MAX_", name):
                yield Bound(file, name, getattr(_module(file), name), _string(below))


def _assigned(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _module(file: str) -> object:
    return importlib.import_module(".".join(["pvspec", *Path(file).with_suffix("").parts]).removesuffix(".__init__"))


def _string(statement: ast.stmt | None) -> str:
    value = statement.value if isinstance(statement, ast.Expr) else None
    text = value.value if isinstance(value, ast.Constant) else None
    return " ".join(inspect.cleandoc(text).split()) if isinstance(text, str) else ""


def group(file: str) -> str:
    """The heading of a file's bounds; KeyError if it has none."""
    for heading, places in GROUPS.items():
        if file.startswith(places):
            return heading
    raise KeyError(f"tests/limits.py: GROUPS does not say where pvspec/{file} belongs")


def shown(bound: Bound) -> str:
    """The value as people read it; if the text says that it is in bytes, in KiB, MiB or GiB."""
    value = bound.value
    assert isinstance(value, int), bound
    if re.match(r"Bytes\b|[^.;:]*\bin bytes\b", bound.text):
        for unit, size in ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10):
            if value % size == 0:
                return f"{value // size:,} {unit}"
    bits = value.bit_length()
    return f"2^{bits} - 1" if bits > 32 and value == (1 << bits) - 1 else f"{value:,}"


def with_tables(page: str) -> str:
    """The page with the tables of all bounds between its markers, in place of what was there."""
    found = re.search(f"({BEGIN}).*({END})", page, re.S)
    assert found, "docs/limits.md has no markers"
    return page[: found.end(1)] + tables(list(bounds())) + page[found.start(2) :]


def tables(known: Iterable[Bound]) -> str:
    """A table for each group that has bounds."""
    rows: dict[str, list[str]] = {heading: [] for heading in GROUPS}
    for bound in known:
        text = bound.text.replace("|", r"\|")
        rows[group(bound.file)].append(f"| {shown(bound)} | {text} | `pvspec/{bound.file}` `{bound.name}` |")
    head = ["| at most | what it bounds | where |", "|---|---|---|"]
    return "\n" + "".join("\n".join([f"## {name}", "", *head, *rows[name], "", ""]) for name in rows if rows[name])
