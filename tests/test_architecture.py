"""docs/architecture.md, held: who imports whom, and which file is the door to a library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pvspec

PACKAGE = Path(pvspec.__file__).parent

# From the ground up, row by row. A room imports from rows above its own, and a file from its own room.
ROWS = [
    "support",
    "engine",
    "x86.code",
    "x86",
    "x86.emulator",
    "lang.source",
    "lang.rendering",
    "lang.diagnostics",
    "lang.syntax",
    "lang.model",
    "lang.target",
    "lang.parse",
    "lang.allowed",
    "lang.files",
    "lang.merged",
    "lang.format",
    "lang.expansion",
    "lang.check",
    "compiler.assemble",
    "compiler.sound compiler.lower",
    "compiler.printout compiler.stored",
    "compiler.pipeline",
    "compiler.cached",
    "spectest proof simulation",
    # kernels
    "kernel.errors",
    "kernel.work",
    "kernel.files",
    "kernel.symbols",
    "kernel.image",
    "kernel.dump",
    "kernel",
    "prediction",
    "cli",
    "__main__",
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row.split()}

# The one module, or package, that imports a library.
DOORS = {
    "lark": "lang.parse",
    "keystone": "x86.assembler",
    "capstone": "x86.decode",
    "iced_x86": "x86.decode",
    "jinja2": "support.templates",
    "lz4": "kernel.files",
    "zstandard": "kernel.files",
    "unicorn": "x86.emulator",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    """A file's dotted name below the package, that of its folder for an `__init__`; empty for the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The row entry that a dotted name below the package belongs to: the longest that it begins with."""
    parts = module.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in ROW), "")


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports when it runs, wherever in the file; `from pvspec.lang import model` is
    pvspec.lang.model."""
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            parts = [name.name for name in node.names if is_module(f"{node.module}.{name.name}")]
            yield from (f"{node.module}.{name}" for name in parts)
            if len(parts) < len(node.names) and node.module != "pvspec":
                yield str(node.module)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from running(child)


def is_module(name: str) -> bool:
    top, *parts = name.split(".")
    place = PACKAGE.joinpath(*parts)
    return top == "pvspec" and (place.with_suffix(".py").exists() or place.is_dir())


@pytest.mark.parametrize("path", modules(), ids=named)
def test_imports_go_one_way(path: Path) -> None:
    if not named(path):
        return  # the package itself hands on what users import
    mine = room(named(path))
    assert mine or is_hollow(path), "give the new module a row, and a line in docs/architecture.md"
    for module in imports(path):
        top, _, below = module.partition(".")
        if top == "pvspec" and below and room(below) != mine:
            assert ROW[room(below)] < ROW[mine], f"{named(path)} imports {module}"


def is_hollow(path: Path) -> bool:
    """Whether a folder's `__init__` imports nothing: then what is in the folder has rows of its own."""
    return path.name == "__init__.py" and not list(imports(path))


@pytest.mark.parametrize("path", modules(), ids=named)
def test_a_library_has_one_door(path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        known = top == "pvspec" or top in sys.stdlib_module_names or top in DOORS
        assert known, f"{module} has no door"
        assert f"{named(path)}.".startswith(f"{DOORS.get(top, named(path))}."), f"it imports {module}"


def test_every_door_is_used() -> None:
    used = {module.partition(".")[0] for path in modules() for module in imports(path)}
    assert used >= DOORS.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.joinpath("engine").glob("*.py")), ids=named)
def test_the_engine_stands_alone(path: Path) -> None:
    for module in imports(path):
        assert module.startswith("pvspec.engine") or module.partition(".")[0] in sys.stdlib_module_names


def test_the_command_line_imports_no_engine() -> None:
    script = "import sys, pvspec.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & DOORS.keys() == set()


def test_rows_name_modules_that_exist() -> None:
    assert {room(named(path)) for path in modules()} - {""} == ROW.keys()
