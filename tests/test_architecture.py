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

# From the ground up. A module imports from rows above its own and from its own package, nothing else.
ROWS = [
    "runtime resources output",
    "cache",
    "emulation",
    "source machinecode",
    "diagnostics",
    "syntax",
    "model",
    "parse",
    "files format",
    "asm check",
    "assemble",
    "verify render",
    "compiler spectest proof simulate",
    "compiled",
    # kernels
    "kernel cpu workload",
    "patching",
    "prediction",
    "explain",
    "cli",
    "__main__",
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row.split()}

# The one module, or package, that imports a library.
DOORS = {
    "lark": "parse",
    "keystone": "asm/assembler",
    "capstone": "asm/decode",
    "iced_x86": "asm/decode",
    "jinja2": "render",
    "elftools": "kernel",
    "debian": "kernel",
    "lz4": "kernel",
    "zstandard": "kernel",
    "unicorn": "emulation",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def part(module: str) -> str:
    """The row entry that a module belongs to; for `import pvspec` itself the empty string."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports when it runs, wherever in the file; `from pvspec import x` is pvspec.x."""
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "pvspec":
                yield from (f"pvspec.{name.name}" for name in node.names if is_module(name.name))
            else:
                yield str(node.module)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from running(child)


def is_module(name: str) -> bool:
    return PACKAGE.joinpath(f"{name}.py").exists() or PACKAGE.joinpath(name).is_dir()


def own(path: Path) -> str:
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if name == "__init__" else name


@pytest.mark.parametrize("path", modules(), ids=named)
def test_imports_go_one_way(path: Path) -> None:
    if not own(path):
        return  # the package itself hands on what users import
    assert own(path) in ROW, "give the new module a row, and a line in docs/architecture.md"
    for module in imports(path):
        if module.partition(".")[0] == "pvspec" and part(module) not in ("", own(path)):
            assert ROW[part(module)] < ROW[own(path)], f"{named(path)} imports {module}"


@pytest.mark.parametrize("path", modules(), ids=named)
def test_a_library_has_one_door(path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        known = top == "pvspec" or top in sys.stdlib_module_names or top in DOORS
        assert known, f"{module} has no door"
        assert named(path) == DOORS.get(top, named(path)) or own(path) == DOORS[top], f"it imports {module}"


def test_every_door_is_used() -> None:
    used = {module.partition(".")[0] for path in modules() for module in imports(path)}
    assert used >= DOORS.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.joinpath("runtime").glob("*.py")), ids=named)
def test_the_runtime_stands_alone(path: Path) -> None:
    for module in imports(path):
        assert module.startswith("pvspec.runtime") or module.partition(".")[0] in sys.stdlib_module_names


def test_the_command_line_imports_no_engine() -> None:
    script = "import sys, pvspec.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & DOORS.keys() == set()


def test_rows_name_modules_that_exist() -> None:
    assert {own(path) for path in modules()} - {""} == ROW.keys()
