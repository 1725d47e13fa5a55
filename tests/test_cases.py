"""Cases on disk: a spec in pass/ compiles, one in run/ passes its own tests, one in fail/ is refused, or not proven, or
warned of."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec, compile_spec, import_text
from pvspec.lang.diagnostics import CODES, render
from pvspec.lang.format import format_text
from pvspec.lang.source import Source
from pvspec.proof import prove_program
from pvspec.spectest import run_cases

from .shipped import KERNELS, SPECS, Kernel

HERE = Path(__file__).parent
Golden = Callable[[Path, str], None]


def cases(folder: str) -> list[Path]:
    """The specs of a folder; a directory is one spec."""
    found = sorted(HERE.joinpath(folder).iterdir())
    return [path for path in found if path.suffix == ".pvs" or path.is_dir()]


def named(path: Path) -> str:
    return path.stem


@pytest.fixture(autouse=True)
def in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages name files relative to this folder."""
    monkeypatch.chdir(HERE)


@pytest.mark.parametrize("path", cases("pass"), ids=named)
def test_compiles(path: Path, golden: Golden) -> None:
    text = compile_spec(path.relative_to(HERE), include=["."])
    own = text[text.index("# ==== the spec") : text.index("# ==== functions")]
    golden(path.with_suffix(".out"), own)


@pytest.mark.parametrize("path", cases("fail"), ids=named)
def test_is_refused(path: Path, golden: Golden) -> None:
    checked = check_spec(path.relative_to(HERE), include=["."])
    diagnostics = list(checked.diagnostics or checked.warnings)
    if not diagnostics:
        program = checked.sound()
        diagnostics = [d for result in run_cases(program.spec, lower(program).spec) for d in result.diagnostics]
        diagnostics = diagnostics or list(prove_program(program).diagnostics)
    assert diagnostics
    golden(path.with_suffix(".err"), "\n\n".join(map(render, diagnostics)) + "\n")


def test_every_diagnostic_has_a_case() -> None:
    pinned = "".join(path.read_text(encoding="utf-8") for path in HERE.joinpath("fail").glob("*.err"))
    assert set(re.findall(r"^(?:error|warning)\[(PV\d+)\]", pinned, re.M)) == set(CODES)


@pytest.mark.parametrize("path", [*cases("run"), *SPECS], ids=lambda path: "-".join(path.parts[-2:]))
def test_has_no_warnings(path: Path) -> None:
    assert [render(warning) for warning in check_spec(path, include=["."]).warnings] == []


@pytest.mark.parametrize("path", [*cases("run"), *SPECS], ids=lambda path: "-".join(path.parts[-2:]))
def test_passes_its_own_tests(path: Path) -> None:
    programs = check_spec(path, include=["."]).all_sound().values()
    results = [result for program in programs for result in run_cases(program.spec, lower(program).spec)]
    assert results
    assert [render(d) for result in results for d in result.diagnostics] == []


@pytest.mark.parametrize("path", [*cases("pass"), *cases("run"), *SPECS], ids=lambda path: "-".join(path.parts[-2:]))
def test_is_in_the_canonical_layout(path: Path) -> None:
    for file in sorted(path.rglob("*.pvs")) if path.is_dir() else [path]:
        text = file.read_text(encoding="utf-8")
        assert format_text(Source(file.name, text)) == text


def told(value: object) -> object:
    """A value of the engine, in this package or in a printed module, as what is the same in both."""
    if isinstance(value, frozenset):
        return "frozenset", sorted(value)
    if isinstance(value, Mapping):
        return "mapping", [(told(key), told(part)) for key, part in value.items()]
    names = getattr(value, "_fields", None)
    if names is not None:
        return type(value).__name__, [(name, told(getattr(value, name))) for name in names]
    return [told(part) for part in value] if isinstance(value, tuple) else value


def compiled(kernel: Kernel) -> str:
    return compile_spec(kernel.spec, kernel=kernel.kernel, machine=kernel.machine)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
class TestPrintedModule:
    def test_needs_the_standard_library_only(self, kernel: Kernel, tmp_path: Path) -> None:
        module = tmp_path / "module.py"
        module.write_text(compiled(kernel), encoding="utf-8")
        subprocess.run([sys.executable, "-I", "-S", str(module)], check=True)

    def test_is_typed_and_formatted(self, kernel: Kernel, tmp_path: Path) -> None:
        module = tmp_path / "module.py"
        module.write_text(compiled(kernel), encoding="utf-8")
        width = ["--line-length", "120", "--isolated", str(module)]
        for command in (
            ["mypy", "--strict", str(module)],
            ["ruff", "format", "--diff", *width],
            ["ruff", "check", *width],
        ):
            done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr

    def test_is_the_engine_and_the_value(self, kernel: Kernel) -> None:
        """The value in the printed module is the lowered one, class by class and field by field."""
        module = import_text(compiled(kernel), "pvspec.generated.printed")
        assert told(module.SPEC) == told(lower(kernel.program).spec)

    def test_is_the_same_to_the_byte(self, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = tmp_path / "copy" / kernel.spec.name
        shutil.copytree(kernel.spec, elsewhere)
        monkeypatch.chdir(tmp_path)
        assert compiled(kernel._replace(spec=elsewhere)) == compiled(kernel)
