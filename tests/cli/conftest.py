"""The command line as a user meets it: arguments in, exit code and two streams out."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest

import pvspec
from pvspec.cli import main

SPEC = """\
machine i386 {
    bits 32
    nops intel { "90"  "89 f6" }
    choose nops intel
}

interface paravirt_ops {
    table ".parainstructions" { addr u32  type u8  len u8  clobber u16 }
    max_len 254
    slot "ff 15" u32
    registers { eax 1  ecx 2  edx 4 }

    op irq_disable  1  -> interrupt_flag
}

backend native for paravirt_ops {
    irq_disable = asm "cli"
}

test native {
    irq_disable at 0xc0101000 len 6 => "fa" nops
}
"""


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object that `--json` prints; the error stream stays empty beside it."""
        assert self.err == ""
        value: dict[str, Any] = json.loads(self.out)
        return value


Run = Callable[..., Outcome]


NOBODY = 65534
other_user = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or make his files")


@pytest.fixture
def run_as_nobody(spec: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs one command as a user without rights, to whom the test's folder belongs."""
    for name in ("commands.compile", "commands.check", "commands.fmt", "confined"):
        importlib.import_module(f"pvspec.cli.{name}")
    main(["--help"])
    assert main(["compile", str(spec), "-o", "all.modules"]) == 0, "nobody may not be able to read where Python is"
    os.unlink("all.modules")
    os.chown(".", NOBODY, NOBODY)
    here = Path.cwd()
    for folder in here.parents:
        if len(folder.parts) > len(Path(gettempdir()).parts):
            folder.chmod(folder.stat().st_mode | 0o755)

    def call(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        child = os.fork()
        if child == 0:
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))  # not pytest's
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os._exit(main([str(argument) for argument in arguments]))
        _, status = os.waitpid(child, 0)
        return Outcome(os.waitstatus_to_exitcode(status), *capfd.readouterr())

    return call


@pytest.fixture(autouse=True)
def same_pvspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a test starts elsewhere runs this pvspec."""
    monkeypatch.setenv("PYTHONPATH", str(Path(pvspec.__file__).parent.parent))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs one command in this process; an exception that it lets through is the test's failure."""

    def call(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small spec that is fine, in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("toy.pvs")
    path.write_text(SPEC, encoding="utf-8")
    return path


@pytest.fixture
def wrong(spec: Path) -> Path:
    """A small spec with two mistakes."""
    path = Path("wrong.pvs")
    path.write_text(SPEC.replace("cli", "clii").replace("choose nops intel", "choose nops intl"), encoding="utf-8")
    return path
