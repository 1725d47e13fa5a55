"""0: fine. 1: the input is wrong or a test failed. 2: usage."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from pvspec import __version__
from pvspec.cli import COMMANDS

from .conftest import SPEC, Run


@pytest.mark.parametrize("command", [("check",), ("test",), ("fmt",), ("fmt", "--check"), ("compile", "-o", "out.py")])
def test_what_is_fine(run: Run, spec: Path, command: tuple[str, ...]) -> None:
    done = run(*command, spec)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("command", [("check",), ("test",), ("compile", "-o", "out.py")])
def test_what_is_wrong(run: Run, wrong: Path, command: tuple[str, ...]) -> None:
    done = run(*command, wrong)
    assert done.code == 1
    assert "wrong.pvs:4:17" in done.err
    assert "wrong.pvs:17:24" in done.err
    assert "Traceback" not in done.err


def test_a_test_that_fails(run: Run, spec: Path) -> None:
    spec.write_text(SPEC.replace('"fa" nops', '"fb" nops'), encoding="utf-8")
    done = run("test", spec)
    assert done.code == 1
    assert "PV501" in done.err
    assert "0 passed, 1 failed" in done.out


def test_a_spec_without_tests(run: Run, spec: Path) -> None:
    spec.write_text(SPEC.partition("test native")[0], encoding="utf-8")
    done = run("test", spec)
    assert done.code == 1
    assert "the spec lacks a `test` block" in done.err


def test_one_wrong_spec_of_two(run: Run, spec: Path, wrong: Path) -> None:
    done = run("check", wrong, spec)
    assert done.code == 1
    assert "toy.pvs: fine" in done.out


def test_a_layout_that_is_not_canonical(run: Run, spec: Path) -> None:
    spec.write_text(SPEC.replace("    ", "  "), encoding="utf-8")
    done = run("fmt", "--check", spec)
    assert done.code == 1
    assert "pvspec fmt toy.pvs" in done.err
    assert run("fmt", spec).code == 0
    assert run("fmt", "--check", spec).code == 0
    assert spec.read_text(encoding="utf-8") == SPEC


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("check",),
        ("check", "--frobnicate", "toy.pvs"),
        ("compile", "toy.pvs"),
        ("compile", "-o", "out.py"),
        ("compile", "toy.pvs", "toy.pvs", "-o", "out.py"),
        ("test",),
        ("fmt",),
        ("apply", "vmlinux"),
        ("apply", "vmlinux", "-o", "out", "--cpus", "two"),
        ("apply", "vmlinux", "-o", "out", "--cpus", "0"),
        ("apply", "vmlinux", "-o", "out", "--load-address", "here"),
        ("apply", "vmlinux", "-o", "out", "--option", "pae"),
        ("predict",),
        ("predict", "vmlinux", "vmlinux"),
        ("predict", "vmlinux", "--cpus", "none"),
        ("predict", "vmlinux", "--cpu"),
        ("diff-text", "vmlinux", "one"),
        ("diff-text", "vmlinux", "one", "two", "three"),
        ("explain", "vmlinux"),
        ("explain", "vmlinux", "start kernel"),
        ("explain", "vmlinux", "-1"),
        ("simulate", "--strategy", "hope"),
        ("simulate", "toy.pvs", "toy.pvs"),
    ],
)
def test_usage(run: Run, spec: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("usage: pvspec")
    assert "lambda" not in done.err
    assert list(spec.parent.iterdir()) == [spec]


def test_help_and_version(run: Run) -> None:
    assert run("--version").out == f"pvspec {__version__}\n"
    assert run("--help").code == 0
    for command in COMMANDS:
        done = run(command, "--help")
        assert done.code == 0
        assert "--json" in done.out


def test_the_program_itself(wrong: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pvspec", "check", str(wrong)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error[PV")


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_as_it_was(run: Run, spec: Path, collects: bool) -> None:
    """A run goes without it; whoever calls `main` from a longer one does not."""
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        run("check", spec)
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()
