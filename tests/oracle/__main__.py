"""`python -m tests.oracle`: how many paravirt sites of Debian's kernels equal the memory of those kernels booted."""

from __future__ import annotations

import sys

from pvspec.compiler import load
from pvspec.kernel import open_image
from pvspec.patching import bind, shipped_spec

from . import boot, fetch
from .conftest import KERNELS
from .test_sites import BARE, compare


def main() -> int:
    wrong = 0
    for arch, flavour in KERNELS:
        package = fetch.kernel_package(arch, flavour)
        image, dump = open_image(package), boot.boot(package, fetch.busybox(arch))
        count, different = compare(bind(load(shipped_spec(image)), image, BARE), dump)
        print(f"{image.release}: {count - len(different)} of {count} live sites equal memory")
        wrong += len(different)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except fetch.Unavailable as reason:
        sys.exit(str(reason))
