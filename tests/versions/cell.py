"""One Python with one set of libraries: an environment outside of the tree, and all that is tried in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from tests.versions.bounds import ROOT, requirements
from tests.versions.pythons import Python

LEFT_OUT = (
    *("oracle", "fuzz", "mutation", "exhaustive", "versions", "spectest/test_coverage.py"),
    *("cli/test_hostile.py", "cli/test_hostile_images.py", "cli/test_killed.py", "cli/test_outcome.py"),
)
"""Tests that are not run: they take many times as long as all others, boot kernels, break pvspec's own code or end
processes, and ask nothing of a library that the others do not."""

_NOT_COPIED = (".git", ".venv", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")
_SPEC = "specs/linux"
_KERNEL = ("--kernel", "6.12", "--machine", "x86_64")


class Result(TypedDict):
    """What one cell of the table came to."""

    python: str
    """The whole version."""
    libraries: Mapping[str, str]
    """The version of each library that pyproject.toml names."""
    failed: Mapping[str, str]
    """The steps that failed, each with the last line that it printed; empty if all is well."""
    tests: str
    """How many tests passed and were skipped, in pytest's words."""


def run(python: Python, oldest: bool, folder: Path) -> Result:
    """Make an environment in `folder`, as the Python sees it, and try everything there."""
    place = python.root / folder.relative_to("/")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(ROOT, place / "tree", ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
    wanted = [one.oldest if oldest else one.newest for one in requirements()]
    place.joinpath("requirements").write_text("\n".join(wanted) + "\n", encoding="utf-8")
    failed, tests = {}, ""
    for step, commands in steps(python, folder):
        last = ""
        for command in commands:
            code, last = _run(python, command, folder, place, step)
            if code:
                failed[step] = last
                break
        tests = last if step == "tests" else tests
        if failed.keys() & {"environment", "libraries"}:
            break
    return Result(python=python.version, libraries=_libraries(python, folder), failed=failed, tests=tests)


def steps(python: Python, folder: Path) -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    """What is tried, in order: a name, and the commands, which run in the tree."""
    inside = f"{folder}/venv/bin/python"
    pip = (inside, "-m", "pip", "--disable-pip-version-check")
    install = (*pip, "install", "--quiet")
    yield "environment", [(python.executable, "-m", "venv", f"{folder}/venv")]
    yield "libraries", [(*install, "--only-binary", ":all:", "--requirement", f"{folder}/requirements")]
    pvspec = f"{folder}/venv/bin/pvspec"
    yield (
        "package",
        [
            (*install, "--no-deps", "--no-build-isolation", f"{folder}/tree"),
            ("env", "-C", str(folder), pvspec, "check", f"tree/{_SPEC}", *_KERNEL),
            ("env", "-C", str(folder), pvspec, "compile", f"tree/{_SPEC}", *_KERNEL, "-o", "out.py"),
            (*pip, "check"),
            (inside, "-c", "import qemu.qmp"),  # which only the tests that boot kernels use
        ],
    )
    yield "types", [(inside, "-m", "mypy", "--no-error-summary")]
    yield "style", [(inside, "-m", "ruff", "check", "--quiet"), (inside, "-m", "ruff", "format", "--check", "--quiet")]
    ignored = [f"--ignore=tests/{name}" for name in LEFT_OUT]
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", *ignored, "-k", "not on_a_kernel"]
    yield "tests", [(inside, "-m", "pytest", *options)]


def _run(python: Python, command: Sequence[str], folder: Path, place: Path, step: str) -> tuple[int, str]:
    """The exit code and the last line; all that it prints is in the file STEP.log."""
    whole = python.command("env", "-C", f"{folder}/tree", *command)
    environment = {**os.environ, "PVSPEC_CACHE": f"{folder}/cache"}
    environment.pop("PYTHONPATH", None)
    log = place / f"{step}.log"
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(whole, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment).returncode
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return code, lines[-1].strip("= ") if lines else ""


def _libraries(python: Python, folder: Path) -> dict[str, str]:
    command = python.command(f"{folder}/venv/bin/python", "-m", "pip", "list", "--format=json")
    done = subprocess.run(command, capture_output=True, text=True)
    installed = {_plain(one["name"]): one["version"] for one in json.loads(done.stdout or "[]")}
    return {one.name: installed[_plain(one.name)] for one in requirements() if _plain(one.name) in installed}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
