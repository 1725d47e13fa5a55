"""`python -m tests.oracle table`: the matrix's results as tables in docs/prediction.md, between two markers."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pvspec.support.output import replacing

from .cases import KERNELS, Case, cases
from .compare import Counts
from .matrix import RESULTS, ROOT, Result

PAGE = ROOT / "docs" / "prediction.md"
BEGIN, END = "<!-- matrix: python -m tests.oracle table -->\n", "<!-- end of matrix -->\n"
Entry = tuple[Case, Counts]


def main(arguments: Sequence[str]) -> int:
    """Write the tables of a file of results into the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle table", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="the matrix's results")
    text = PAGE.read_text(encoding="utf-8")
    with replacing(PAGE) as file:
        file.write(with_tables(text, read_results(parser.parse_args(arguments).results)).encode())
    return 0


def read_results(file: Path) -> dict[str, Result]:
    """What the matrix has found so far, by the name of the case; nothing if it was never run."""
    results: dict[str, Result] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return results


def with_tables(page: str, results: Mapping[str, Result]) -> str:
    """The page with the tables of these results between its markers, in place of what was there."""
    found = re.search(f"({BEGIN}).*({END})", page, re.S)
    assert found, f"{PAGE.name} has no markers"
    return page[: found.end(1)] + tables(results) + page[found.start(2) :]


def tables(results: Mapping[str, Result]) -> str:
    """Of the cases that have a result: what each boot came to, and which sites each kernel has."""
    known = [(case, results[case.name]["counts"]) for case in cases() if case.name in results]
    if not known:
        return ""
    parts = (_total(known), _of_boots(known), _of_families(known))
    return "\n" + "\n".join("\n".join(lines) + "\n" for lines in parts) + "\n"


def _total(known: Sequence[Entry]) -> list[str]:
    def total(key: str) -> str:
        return _number(sum(counts[key] for _, counts in known))  # type: ignore[literal-required]

    return [
        f"{len(known)} of {sum(1 for _ in cases())} boots: {total('changed')} bytes changed; with the boot's state "
        f"{total('wrong_with_state')} predicted wrong; without, {total('wrong_without_state')} other than predicted, "
        f"{total('unexplained')} of them unexplained."
    ]


# ---- boot by boot

_BOOT: Mapping[str, Callable[[Case, Counts], str]] = {
    "kernel": lambda case, _: case.kernel.name,
    "hypervisor": lambda case, _: case.machine.hypervisor,
    "CPU": lambda case, _: case.machine.cpu,
    "command line": lambda case, _: f"`{case.machine.append}`" if case.machine.append else "",
    "CPUs": lambda case, _: str(case.machine.smp),
    "bytes changed": lambda _, counts: _number(counts["changed"]),
    "wrong with state": lambda _, counts: _number(counts["wrong_with_state"]),
    "exact sites": lambda _, counts: _exact(counts),
    "dynamic sites": lambda _, counts: _number(sum(counts["two_formed"].values())),
    "other without state": lambda _, counts: _number(counts["wrong_without_state"]),
    "unexplained": lambda _, counts: _number(counts["unexplained"]),
}


def _of_boots(known: Iterable[Entry]) -> Iterator[str]:
    in_order = sorted(known, key=lambda entry: KERNELS.index(entry[0].kernel))
    return _rows(list(_BOOT), ([cell(case, counts) for cell in _BOOT.values()] for case, counts in in_order), 4)


def _exact(counts: Counts) -> str:
    """How many sites have one form, if all of them have it in memory; wrong bytes do not tell whose they are."""
    if counts["wrong_with_state"] or counts["unexplained"]:
        return ""
    return _number(sum(counts["sites"].values()) - sum(counts["two_formed"].values()))


# ---- family by family


def _of_families(known: Sequence[Entry]) -> Iterator[str]:
    kernels = [kernel for kernel in KERNELS if any(case.kernel == kernel for case, _ in known)]
    families = dict.fromkeys(name for _, counts in known for name in (*counts["sites"], *counts["absent"]))
    of = {kernel: [counts for case, counts in known if case.kernel == kernel] for kernel in kernels}
    rows = ([name, *(_sites(name, of[kernel]) for kernel in kernels)] for name in families)
    return _rows(["table", *(kernel.name for kernel in kernels)], rows, 1)


def _sites(family: str, boots: Sequence[Counts]) -> str:
    """How many sites a family has in a kernel's boots; how many of them are dynamic, if any are."""
    present = [counts for counts in boots if family in counts["sites"]]
    if not present:
        return ""
    all_sites = [counts["sites"][family] for counts in present]
    dynamic = [counts["two_formed"].get(family, 0) for counts in present]
    if not any(dynamic):
        return _range(all_sites)
    return f"{_range(all_sites)}; {'all' if dynamic == all_sites else _range(dynamic)}"


# ---- cells


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _number(number: int) -> str:
    return f"{number:,}"


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> Iterator[str]:
    """A table; its first `words` columns are words, all others numbers."""
    lines = [heads, ["---"] * words + ["---:"] * (len(heads) - words), *rows]
    return (f"| {' | '.join(cells)} |" for cells in lines)
