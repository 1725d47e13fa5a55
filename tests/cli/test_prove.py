"""`pvspec prove` as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..shipped import KERNELS

SPEC = KERNELS[-1].options
FAIL = Path(__file__).parent.parent / "fail"


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pvspec", "prove", *arguments], capture_output=True, text=True)


def test_json_says_what_the_table_says() -> None:
    done = prove(*SPEC, "--json", "--regions")
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, done.stderr, found["ok"]) == (0, "", True)
    (proof,) = found["proofs"]
    assert {cell["verdict"] for cell in proof["backends"]["native"]} == {"proven"}
    assert len(proof["backends"]["native"]) == 13
    assert set(proof["backends"]["native"][0]) == {"op", "verdict", "states", "arms"}
    assert proof["kernel"] == "Linux 6.1 on i386"
    assert proof["nops"]["intel"] > 1000
    chains = {chain["owner"]: chain for chain in proof["chains"]}
    assert chains["ftrace"]["fires"][-1] == {"rule": "nops.pvs:110", "when": ["len 5; site is call __fentry__"]}


def test_what_is_wrong_is_exit_code_1() -> None:
    done = prove(str(FAIL / "meaning_missed.pvs"))
    assert done.returncode == 1
    assert done.stderr.count("error[PV602]") == 8
    assert "not provable here: wrong: it does something else" in done.stdout


def test_a_spec_that_is_wrong_is_not_run() -> None:
    done = prove(str(FAIL / "control.pvs"), "--include", str(FAIL.parent))
    assert done.returncode == 1
    assert "PV404" in done.stderr
    assert done.stdout == ""
