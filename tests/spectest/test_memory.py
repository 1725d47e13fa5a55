"""What a run of spec tests costs: the garbage collector is off in the command, so a case must leave nothing large."""

from __future__ import annotations

import os
import subprocess
import sys

from pvspec.support.paths import resource

LIMIT = 250 << 10  # KiB


def test_the_largest_spec_stays_small() -> None:
    command = [sys.executable, "-m", "pvspec", "test", str(resource("specs", "linux-6.12", "x86_64"))]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss < LIMIT
