"""The command line as a user meets it: arguments in, exit code and two streams out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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

interface paravirt_ops on i386 {
    table ".parainstructions" { addr u32  type u8  len u8  clobber u16 }
    max_len 254
    slot "ff 15" u32
    clobbers { eax 1  ecx 2  edx 4 }

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
