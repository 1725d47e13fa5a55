"""A mutant in a copy of the tree, and the tests that should notice it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.mutation.mutant import ROOT, Mutant

_COPIED = ("pvspec", "tests", "specs", "grammar", "templates", "docs", "scripts", "benchmarks", "examples")
_FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE")
_SLOW = ("oracle", "exhaustive", "fuzz", "mutation")
_CASES = "tests/test_cases.py"
_REFUSED = (_CASES, "-k", "refused or compiles")
_PASSES = (_CASES, "-k", "own_tests")
_PRINTED = (_CASES, "-k", "compiles or standard_library or formatted or the_value or canonical")
_RUNTIME = ("tests/engine",)
_DECIDE = ("tests/engine/test_decide.py", "tests/engine/test_facts.py", "tests/engine/test_family_models.py")
_SITES = tuple(f"tests/engine/test_{name}.py" for name in ("families", "sites", "family_models"))
_PATCHES = tuple(f"tests/engine/test_{name}.py" for name in ("patch", "families", "slots", "breakpoint", "records"))
_PREDICTION = ("tests/prediction",)
_SHIPPED = ("tests/cli/test_predict.py", "tests/cli/test_outcome.py", "tests/cli/test_kernels.py")
NEAR: dict[str, tuple[tuple[str, ...], ...]] = {
    "pvspec/lang/check": (_REFUSED, _PASSES),
    "pvspec/lang/parse/recovery": (("tests/parse/test_recovery.py",), _REFUSED, ("tests/parse",)),
    "pvspec/lang/parse": (("tests/parse/test_limits.py",), _REFUSED, ("tests/parse",)),
    "pvspec/compiler/sound": (_REFUSED, ("tests/sound",), _PASSES),
    "pvspec/compiler/lower": (("tests/engine/test_lower.py",), _REFUSED, _PASSES),
    "pvspec/compiler/stored": (("tests/support/test_stored.py",), ("tests/support",)),
    "pvspec/compiler/printout": (
        ("tests/engine/test_literals.py", "tests/engine/test_printed.py"),
        _PRINTED,
        ("tests/test_injection.py",),
    ),
    "pvspec/proof/regions": (("tests/proof/test_regions.py",), _REFUSED, ("tests/cli/test_prove.py",)),
    "pvspec/proof": (_REFUSED, ("tests/proof",), ("tests/cli/test_prove.py",)),
    "pvspec/spectest": (("tests/spectest/test_binding.py",), _REFUSED, _PASSES, ("tests/spectest",)),
    "pvspec/lang/target": (("tests/targets",), _REFUSED),
    "pvspec/lang/expansion": (("tests/targets/test_expansion.py",),),
    "pvspec/lang/files": (
        ("tests/cli/test_hostile.py", "-k", "long_chain or each_other or that_is_no_spec or what_is_no_spec"),
    ),
    "pvspec/prediction/forms": (("tests/prediction/test_forms.py",), _PREDICTION, _SHIPPED),
    "pvspec/prediction": (_PREDICTION, _SHIPPED),
    "pvspec/engine/command_line": (("tests/engine/test_command_line.py",), _PASSES),
    "pvspec/engine/policy": (("tests/engine/test_policy.py",), _DECIDE, _PASSES),
    "pvspec/engine/decide": (_DECIDE, _RUNTIME, _PASSES, _PREDICTION),
    "pvspec/engine/facts": (_DECIDE, _RUNTIME, _PASSES, _PREDICTION),
    "pvspec/engine/guards": (("tests/engine/test_guards.py",), _DECIDE, _REFUSED, ("tests/proof",), _PASSES),
    "pvspec/engine/value": (("tests/engine/test_value.py",), _RUNTIME, _REFUSED),
    "pvspec/engine/relocation": (("tests/engine/test_relocation.py", "tests/engine/test_families.py"), _RUNTIME),
    "pvspec/engine/families": (_SITES, _RUNTIME, _PASSES),
    "pvspec/engine/sites": (_SITES, _RUNTIME, _PASSES),
    "pvspec/engine": (_PATCHES, _RUNTIME, _PASSES),
}
"""By the beginning of a file's name: what is asked first, the quickest before the others."""

LONGEST = 1200  # seconds; a mutant for which tests take longer hangs, and that is noticed


class Scratch:
    """A copy of the tree, in which one file at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in _COPIED:
            if ROOT.joinpath(name).exists():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in _FILES:
            shutil.copy(ROOT / name, folder / name)
        self._clock = 1_000_000_000

    def noticed_by(self, mutant: Mutant, near: bool) -> str | None:
        """The tests that fail with it, None if all pass; `near` asks only those near the file."""
        path = self.folder / mutant.file
        before = path.read_text(encoding="utf-8")
        self._write(path, mutant.text)
        try:
            return next((" ".join(tests) for tests in _rounds(mutant.file, near) if self._fails(tests)), None)
        finally:
            self._write(path, before)

    def failing(self, mutants: Iterable[Mutant], near: bool) -> list[str]:
        """The tests that fail with no mutant at all: then nothing can be said."""
        rounds = {tests for mutant in mutants for tests in _rounds(mutant.file, near)}
        return [" ".join(tests) for tests in sorted(rounds) if self._fails(tests)]

    def _write(self, path: Path, text: str) -> None:
        """Python knows its compiled files by the second."""
        path.write_text(text, encoding="utf-8")
        self._clock += 10
        os.utime(path, (self._clock, self._clock))

    def _fails(self, tests: tuple[str, ...]) -> bool:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests]
        environment = {**os.environ, "PVSPEC_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(self.folder)}
        try:
            done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def _rounds(file: str, near: bool) -> list[tuple[str, ...]]:
    """The tests near the file, then all but the slowest."""
    first = next((tests for start, tests in NEAR.items() if file.startswith(start)), (_REFUSED, _PASSES))
    rest = ("tests", *(f"--ignore=tests/{name}" for name in _SLOW))
    return [*first] if near else [*first, rest]
