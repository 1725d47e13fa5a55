"""Many inputs: `python -m tests.fuzz [--inputs N] [--hours H] [--jobs J] [--target T] [--seed S] [--record FILE]`.

With a record, and a folder that holds what was kept, a later run goes on where the one before ended.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from tests.fuzz.weights import WEIGHTS

RECORD = Path(__file__).with_name("record.json")
PORTION = 20_000  # inputs a process; the record is written after each


def main(arguments: list[str] | None = None) -> int:
    """Print a line a portion, and the record as a table; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, metavar="N", help="in total, 10000 if not said")
    parser.add_argument("--hours", type=float, default=1e6, metavar="H", help="end after that time at the latest")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes at once")
    parser.add_argument("--target", action="append", choices=WEIGHTS, help="one target alone, or several")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--record", type=Path, metavar="FILE", help="go on with the record there, and keep it there")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="what is kept and found, for later runs to build upon"
    )
    parser.add_argument("--show", action="store_true", help="only show the record of the longest run so far")
    options = parser.parse_args(arguments)
    if options.show:
        print(shown(json.loads(RECORD.read_text(encoding="utf-8"))))
        return 0
    record = _read(options.record)
    with TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        until = time.time() + options.hours * 3600
        for name, result in recorded(
            options.inputs, options.target or list(WEIGHTS), options.seed, record, folder, until, options.jobs
        ):
            record = updated(record, name, result)
            if options.record:
                options.record.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            print(_line(name, result), file=sys.stderr)
    print(shown(record))
    return any(target["crashes"] for target in record["targets"].values())


def recorded(
    inputs: int, names: list[str], seed: str, record: dict[str, Any], folder: Path, until: float = 1e18, jobs: int = 1
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Portion by portion the target and what came of it, until `record` and they have that many inputs in total."""
    weight = sum(WEIGHTS[name] for name in names)
    share = {name: -(-inputs * WEIGHTS[name] // weight) for name in names}
    done = {name: record["targets"].get(name, {}).get("inputs", 0) for name in names}

    results: SimpleQueue[tuple[str, dict[str, Any]] | None] = SimpleQueue()

    def try_all(name: str) -> None:
        """A target's portions, one after the other: each builds upon those before."""
        try:
            while done[name] < share[name] and time.time() < until:
                size = min(PORTION, share[name] - done[name])
                result = portion(name, size, f"{seed}.{done[name]}", folder, until)
                done[name] += result["inputs"]
                results.put((name, result))
        finally:
            results.put(None)

    with ThreadPoolExecutor(jobs) as pool:
        for name in names:
            pool.submit(try_all, name)
        for _ in names:
            yield from iter(results.get, None)


def portion(name: str, inputs: int, seed: str, folder: Path, until: float = 1e18) -> dict[str, Any]:
    """What the process of a target says; if it dies itself, that is a crash, too."""
    temporary = folder / "tmp" / name
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **{"PYTHONHASHSEED": "0", "PVSPEC_CACHE": str(folder / "tmp" / f"cache-{name}"), "TMPDIR": str(temporary)},
    }
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(inputs), seed, str(folder), str(until)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result
    death = signal.Signals(-done.returncode).name if done.returncode < 0 else done.stderr[-2000:]
    numbers = {"inputs": inputs, "seconds": 0.0, "blocks": 0, "kept": 0, "slowest": 0.0, "largest": 0, "of": 0}
    return {**numbers, "crashes": {f"the fuzzer died: {death}": ""}}


def updated(record: dict[str, Any], name: str, result: dict[str, Any]) -> dict[str, Any]:
    """A record with a portion of one target more."""
    known = record["targets"].get(name, dict.fromkeys(result, 0) | {"crashes": {}})
    target = {
        **{key: known[key] + result[key] for key in ("inputs", "kept")},
        "seconds": round(known["seconds"] + result["seconds"], 1),
        **{key: max(known[key], result[key]) for key in ("blocks", "of", "largest")},
        "slowest": round(max(known["slowest"], result["slowest"]), 2),
        "crashes": {**known["crashes"], **result["crashes"]},
    }
    targets = {**record["targets"], name: target}
    told = {name: targets[name] for name in WEIGHTS if name in targets}
    return {"inputs": sum(target["inputs"] for target in told.values()), "targets": told}


def shown(record: dict[str, Any]) -> str:
    """The record as a table."""
    rows: list[Iterable[str]] = [("target", "inputs", "blocks", "kept", "slowest, s", "most, MiB", "found")]
    for name, target in record["targets"].items():
        numbers = f"{target['inputs']:,}", f"{target['blocks']:,}", f"{target['kept']:,}"
        cost = f"{target['slowest']:.1f}", str(target["largest"] >> 20)
        rows.append((name, *numbers, *cost, str(len(target["crashes"]))))
    rows.append(("", f"{record['inputs']:,}"))
    return "\n".join(f"{name:<24}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in rows).rstrip()


def _read(path: Path | None) -> dict[str, Any]:
    if path is None or not path.exists():
        return {"inputs": 0, "targets": {}}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _line(name: str, result: dict[str, Any]) -> str:
    speed = result["inputs"] / result["seconds"] if result["seconds"] else 0
    costs = f"{speed:.0f} a second, slowest {result['slowest']:.1f} s, most {result['largest'] >> 20} MiB"
    return f"{name}: {result['inputs']} inputs, {costs}; found: {', '.join(result['crashes']) or 'nothing'}"


if __name__ == "__main__":
    sys.exit(main())
