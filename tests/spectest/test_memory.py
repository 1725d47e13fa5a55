"""What a run of spec tests costs: the garbage collector is off in the command, so a case must leave nothing large."""

from __future__ import annotations

import re
import subprocess
import sys

from ..shipped import LINUX

LIMIT = 250 << 10  # KiB
# VmHWM, not ru_maxrss: that one counts what the process that started it had
RUN = """
import sys
from pathlib import Path
from pvspec.cli import main
status = main(sys.argv[1:])
print(Path("/proc/self/status").read_text(), file=sys.stderr)
sys.exit(status)
"""


def test_the_largest_spec_stays_small() -> None:
    command = [sys.executable, "-c", RUN, "test", str(LINUX), "--kernel", "6.12"]
    done = subprocess.run(command, capture_output=True, text=True)
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", done.stderr, re.M)
    assert done.returncode == 0
    assert peak is not None
    assert int(peak[1]) < LIMIT
