"""Warnings: shown by `check` alone, and errors only with `--deny-warnings`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import SPEC, Run

LOOSE = SPEC.replace("    irq_disable =", "    symbol nowhere\n    irq_disable =")
KEPT = "    op irq_disable"


@pytest.fixture
def loose(spec: Path) -> Path:
    """A spec that declares a symbol for nothing."""
    spec.write_text(LOOSE, encoding="utf-8")
    return spec


def test_a_warning_is_no_error(run: Run, loose: Path) -> None:
    done = run("check", loose)
    assert done.code == 0
    assert done.err.startswith("warning[PV701]: symbol `nowhere` is never used\n  --> toy.pvs:17:12\n")
    assert done.out == "toy.pvs: 1 warning\n"


def test_a_warning_as_json(run: Run, loose: Path) -> None:
    done = run("check", loose, "--json")
    assert (done.code, done.json["ok"]) == (0, True)
    assert [(found["severity"], found["code"]) for found in done.json["diagnostics"]] == [("warning", "PV701")]


def test_denied(run: Run, loose: Path) -> None:
    done = run("check", "--deny-warnings", loose)
    assert done.code == 1
    assert "warning[PV701]" in done.err
    assert done.err.endswith("error: 1 warning; --deny-warnings allows none\n\n")
    value = run("check", "--deny-warnings", loose, "--json").json
    assert (value["ok"], len(value["errors"])) == (False, 1)


def test_nothing_to_deny(run: Run, spec: Path) -> None:
    done = run("check", "--deny-warnings", spec)
    assert (done.code, done.out, done.err) == (0, "toy.pvs: fine\n", "")


@pytest.mark.parametrize("command", [("test",), ("compile", "-o", "out.py"), ("prove",)])
def test_other_commands_are_silent(run: Run, loose: Path, command: tuple[str, ...]) -> None:
    done = run(*command, loose)
    assert (done.code, done.err) == (0, "")


def test_an_included_file_may_be_for_others(run: Run, spec: Path) -> None:
    common, _, rest = SPEC.partition("backend native")
    folder = Path("folder")
    folder.mkdir()
    shared = common.replace(KEPT, f"    symbol nowhere\n{KEPT}")
    folder.joinpath("common.pvs").write_text(shared, encoding="utf-8")
    backend = f'include "common.pvs"\nbackend native{rest}'
    folder.joinpath("native.pvs").write_text(backend, encoding="utf-8")
    assert run("check", "--deny-warnings", folder / "native.pvs").code == 0
    assert run("check", "--deny-warnings", folder).code == 1
    Path("outside.pvs").write_text(backend.replace("common.pvs", "folder/common.pvs"), encoding="utf-8")
    assert run("check", "--deny-warnings", "outside.pvs").code == 0


def test_errors_leave_uses_out_and_so_no_warning_is_sure(run: Run, spec: Path) -> None:
    spec.write_text(LOOSE.replace("choose nops intel", "choose nops intl"), encoding="utf-8")
    done = run("check", spec)
    assert done.code == 1
    assert "warning" not in done.err
