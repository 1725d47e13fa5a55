"""One target in a process of its own: `python -m tests.fuzz.child TARGET INPUTS SEED FOLDER UNTIL`.

The folder holds what earlier runs kept and reached, and what is found: FINDINGS/*.input, each with what was seen beside
it. Prints the result as JSON.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from pathlib import Path

from tests.fuzz import coverage
from tests.fuzz.loop import Result, fuzz

_NOTEWORTHY = 2.0  # seconds of processor time from which on the slowest input is kept
_MUCH = 256 << 20  # bytes of memory from which on


def main(name: str, inputs: int, seed: str, folder: Path, until: float) -> None:
    coverage.install(folder / "tmp" / "marks")
    coverage.import_all()
    from tests.fuzz.targets import TARGETS

    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    mine = folder / name
    mine.mkdir(parents=True, exist_ok=True)
    found = [path.read_bytes() for path in sorted(mine.glob("*.kept"))]
    marks = mine / "reached"
    reached = int.from_bytes(marks.read_bytes(), "little") if marks.exists() else 0
    result, kept, reached = fuzz(TARGETS[name], inputs, f"{name} {seed}", found, reached, until)
    for data in kept:
        mine.joinpath(f"{_digest(data)}.kept").write_bytes(data)
    marks.write_bytes(reached.to_bytes(len(coverage.SEEN), "little"))
    crashes = _findings(result, folder / "findings", name)
    print(json.dumps({**result.as_json(), "crashes": crashes, "of": coverage.blocks()}))


def _findings(result: Result, folder: Path, name: str) -> dict[str, str]:
    """Write down what was found; the crashes, with the names of their files."""
    folder.mkdir(exist_ok=True)
    named = {crash: _finding(folder, name, crash, data) for crash, data in result.crashes.items()}
    if result.slowest > _NOTEWORTHY:
        _finding(folder, name, f"slow: {result.slowest:.1f} s of processor time", result.slow)
    if result.largest > _MUCH:
        _finding(folder, name, f"large: {result.largest >> 20} MiB of memory", result.large)
    return named


def _finding(folder: Path, name: str, crash: str, data: bytes) -> str:
    file = f"{name}-{hashlib.sha256(crash.partition(': ')[0].encode()).hexdigest()[:8]}"
    folder.joinpath(f"{file}.input").write_bytes(data)
    folder.joinpath(f"{file}.txt").write_text(f"{name}: {crash}\n{len(data)} bytes\n", encoding="utf-8")
    return f"{file}.input"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), float(sys.argv[5]))
