"""`python -m tests.oracle matrix` boots and compares; `… table` writes the results down.

`… machines` tries machines that are made at random, and `… coverage` says what of a spec they come to.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import fetch, matrix, table
from .machines import command as machines
from .machines import coverage

COMMANDS = {"matrix": matrix.main, "table": table.main, "machines": machines.main, "coverage": coverage.main}


def main(arguments: Sequence[str]) -> int:
    """Run a command with its arguments; 2 if there is no such command."""
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        print(f"usage: python -m tests.oracle {'|'.join(COMMANDS)} …", file=sys.stderr)
        return 2
    return command(arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except fetch.Unavailable as reason:
        sys.exit(str(reason))
