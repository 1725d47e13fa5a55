"""`python -m tests.oracle`: how many sites of Debian's kernels, table by table, equal those kernels booted.

`python -m tests.oracle matrix` does the whole boot matrix, `python -m tests.oracle table` writes its results down.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pvspec.compiler import load
from pvspec.kernel import open_image
from pvspec.patching import Choices, bind, shipped_spec

from . import boot, fetch, matrix, table
from .conftest import KERNELS
from .features import features
from .sites import compare

COMMANDS = {"matrix": matrix.main, "table": table.main}


def main(arguments: Sequence[str]) -> int:
    """Run a command; without one, compare."""
    return COMMANDS[arguments[0]](arguments[1:]) if arguments else compare_kernels()


def compare_kernels() -> int:
    """Print a line a table; 1 if a site differs."""
    wrong = 0
    for arch, flavour in KERNELS:
        package = fetch.kernel_package(arch, flavour)
        image, dump = open_image(package), boot.boot(package, fetch.busybox(arch))
        bound = bind(load(shipped_spec(image)), image, Choices("native", features=tuple(features(dump)), cpus=1))
        memory, _ = bound.patched()
        for name in bound.module.SPEC.passes:
            if name not in bound.tables:
                print(f"{image.release}: {name}: no such table")
                continue
            count, different = compare(bound, name, memory, dump)
            print(f"{image.release}: {name}: {count - len(different)} of {count} live sites equal memory")
            wrong += len(different)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except fetch.Unavailable as reason:
        sys.exit(str(reason))
