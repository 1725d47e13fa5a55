"""How much of each reader the targets' own seeds reach, as JSON: `python -m tests.fuzz.reach`.

A reader that is new has no target, and so hardly any of it is reached.
"""

from __future__ import annotations

import json
from itertools import islice

from tests.fuzz import coverage

READERS = (
    *("pvspec.kernel.files.", "pvspec.kernel.symbols.", "pvspec.kernel.image.", "pvspec.kernel.dump."),
    *(
        "pvspec.prediction.cpu",
        "pvspec.prediction.config",
        "pvspec.prediction.parameters",
        "pvspec.engine.command_line",
        "pvspec.support.cache",
        "pvspec.compiler.stored",
        "pvspec.lang.files",
        "pvspec.lang.parse.",
        "pvspec.lang.expansion",
        "pvspec.lang.target",
    ),
)
"""Where there are modules that read what others wrote."""

_SEEDS = 30  # of a target


def main() -> None:
    coverage.install()
    coverage.import_all()
    from tests.fuzz.targets import TARGETS

    coverage.SEEN[:] = bytes(len(coverage.SEEN))  # what runs when a module is imported does not count
    for target in TARGETS.values():
        for data in islice(target.seeds(), _SEEDS):
            target.run(data)
    print(json.dumps(coverage.reached(READERS)))


if __name__ == "__main__":
    main()
