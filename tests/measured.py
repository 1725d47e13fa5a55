"""A command's cost, as it alone has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_RUN = """
import json, resource, subprocess, sys
report, seconds, addresses, *command = sys.argv[1:]
def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    if int(addresses):
        resource.setrlimit(resource.RLIMIT_AS, (int(addresses), int(addresses)))
code = subprocess.call(command, preexec_fn=limit, timeout=int(seconds))
with open(report, "w") as file:
    json.dump([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss], file)
"""
# A process's peak counts what the one that started it had, until `exec`: tests have hundreds of MiB, this one has none.


class Measured(NamedTuple):
    """What a process left behind: its status, a signal below zero; what it said; the most memory it had, in KiB."""

    code: int
    out: str
    err: str
    memory: int


def measured(
    command: Sequence[str], seconds: int, addresses: int = 0, *, cwd: Path, env: Mapping[str, str] | None = None
) -> Measured:
    """Run a command with so many seconds, of CPU and in all, and bytes of address space; 0: as many as there are.

    FileNotFoundError if it took longer in all: it is killed, and there is no report.
    """
    with tempfile.TemporaryDirectory(prefix="pvspec-") as scratch:
        report = Path(scratch, "report")
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(report), str(seconds), str(addresses), *command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        code, memory = json.loads(report.read_text())
    return Measured(code, done.stdout, done.stderr, memory)
