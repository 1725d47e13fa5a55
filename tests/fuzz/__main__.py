"""Many inputs: `python -m tests.fuzz --inputs N [--target T] [--seed S] [--record FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

RECORD = Path(__file__).with_name("record.json")
PORTION = 20_000  # inputs a process: caches of what was assembled grow with each
WEIGHTS = {
    **{
        "parse": 6,
        "format": 4,
        "check": 5,
        "image": 14,
        "moved": 4,
        "kallsyms": 18,
        "dump": 4,
        "symbols": 4,
        "cpuinfo": 10,
    },
    **{"vulnerabilities": 4, "predict": 8, "apply": 19},
}
"""Of 100 inputs, how many go to each target."""


def main(arguments: list[str] | None = None) -> int:
    """Print a line a target, and the record as JSON; 1 if anything crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, metavar="N", help="in total, 10000 if not said")
    parser.add_argument("--target", action="append", choices=WEIGHTS, help="one target alone, or several")
    parser.add_argument("--seed", default="0")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep the record there; targets not run now keep their part"
    )
    parser.add_argument("--show", action="store_true", help="only show the record of the longest run so far")
    options = parser.parse_args(arguments)
    if options.show:
        print(shown(json.loads(RECORD.read_text(encoding="utf-8"))))
        return 0
    record: dict[str, Any] = {"targets": {}}
    for part in recorded(options.inputs, options.target or list(WEIGHTS), options.seed):
        if options.record and options.record.exists():
            record = json.loads(options.record.read_text(encoding="utf-8"))
        record = updated(record, part)
        if options.record:
            options.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))
    return any(target["crashes"] for target in record["targets"].values())


def recorded(inputs: int, names: list[str], seed: str) -> Iterator[dict[str, Any]]:
    """Target by target the record of a run: what was tried, what it reached, and what crashed."""
    weight = sum(WEIGHTS[name] for name in names)
    for name in names:
        yield {name: run(name, -(-inputs * WEIGHTS[name] // weight), seed)}


def shown(record: dict[str, Any]) -> str:
    """The record as a table."""
    rows = [("target", "inputs", "blocks reached", "inputs kept", "crashes")]
    for name, target in record["targets"].items():
        numbers = target["inputs"], target["blocks"], target["kept"], len(target["crashes"])
        rows.append((name, *(f"{number:,}" for number in numbers)))
    rows.append(("", f"{record['inputs']:,}", "", "", ""))
    return "\n".join(f"{name:<16}" + "".join(f"{cell:>16}" for cell in cells) for name, *cells in rows).rstrip()


def updated(record: dict[str, Any], anew: dict[str, Any]) -> dict[str, Any]:
    """A record with the targets of a later run in place of its own."""
    targets = {**record["targets"], **anew}
    told = {name: targets[name] for name in WEIGHTS if name in targets}
    return {"inputs": sum(target["inputs"] for target in told.values()), "targets": told}


def run(name: str, inputs: int, seed: str) -> dict[str, Any]:
    """One target's part of the record; portions build upon what earlier ones kept."""
    with TemporaryDirectory() as folder:
        results = list(_portions(name, inputs, seed, Path(folder)))
    seconds = sum(result["seconds"] for result in results)
    done = sum(result["inputs"] for result in results)
    crashes = {crash: data for result in results for crash, data in result["crashes"].items()}
    line = {
        "seed": seed,
        "inputs": done,
        "inputs_per_second": round(done / seconds) if seconds else 0,
        "blocks": max(result["blocks"] for result in results),
        "of": max(result["of"] for result in results),
        "kept": sum(result["corpus"] for result in results),
        "crashes": dict(sorted(crashes.items())),
    }
    print(f"{name}:", *(f"{key} {value}" for key, value in line.items() if key != "crashes"), file=sys.stderr)
    return line


def _portions(name: str, inputs: int, seed: str, folder: Path) -> Iterator[dict[str, Any]]:
    for number, start in enumerate(range(0, inputs, PORTION)):
        size = min(PORTION, inputs - start)
        yield _portion(name, size, f"{seed}.{number}", folder)


def _portion(name: str, inputs: int, seed: str, folder: Path) -> dict[str, Any]:
    """What the process says; if it dies, that is a crash, too."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(inputs), seed, str(folder)]
    temporary, tried = folder / "tmp", folder / "input"
    temporary.mkdir(exist_ok=True)
    tried.write_bytes(b"")
    environment = {
        **os.environ,
        **{"PYTHONHASHSEED": "0", "PVSPEC_CACHE": str(folder / "cache"), "TMPDIR": str(temporary)},
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    data = tried.read_bytes()
    death = signal.Signals(-done.returncode).name if done.returncode < 0 else done.stderr[-2000:]
    crashes = {f"the process died: {death}": data[4 : 4 + int.from_bytes(data[:4], "little")].hex()}
    return {"inputs": inputs, "seconds": 0.0, "blocks": 0, "corpus": 0, "of": 0, "crashes": crashes}


if __name__ == "__main__":
    sys.exit(main())
