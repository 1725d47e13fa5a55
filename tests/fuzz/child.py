"""One target in a process of its own, with little memory: `python -m tests.fuzz.child TARGET INPUTS SEED FOLDER`.

The folder holds what was kept; the file `input` in it is what is being tried, should the process die of it. Prints the
result as JSON.
"""

from __future__ import annotations

import gc
import hashlib
import json
import mmap
import resource
import sys
from pathlib import Path

from tests.fuzz import coverage
from tests.fuzz.loop import fuzz

MEMORY = 1 << 30  # bytes of addresses
TRIED = 1 << 17  # bytes of the file


def main(name: str, inputs: int, seed: str, folder: Path) -> None:
    coverage.install()
    from tests.fuzz.targets import TARGETS

    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found = [path.read_bytes() for path in sorted(folder.glob("*.kept"))]
    tried = folder / "input"
    tried.write_bytes(bytes(TRIED))
    with tried.open("r+b") as file, mmap.mmap(file.fileno(), TRIED) as page:

        def told(data: bytes) -> None:
            page[:4] = len(data).to_bytes(4, "little")
            page[4 : 4 + len(data)] = data

        result, kept = fuzz(TARGETS[name], inputs, f"{name} {seed}", found, told)
    for data in kept:
        folder.joinpath(f"{hashlib.sha256(data).hexdigest()[:16]}.kept").write_bytes(data)
    print(json.dumps({**result.as_json(), "of": coverage.blocks()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
