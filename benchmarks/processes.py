"""Whole processes: CPU time, user and system, of `python -m pvspec …`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figure import Figure, median

REPS = 9
HELP_BOUND = 80  # ms
COMPILE_BOUND = 200  # ms, for SIZES[0] lines
SIZES = (100, 1_000, 10_000)  # lines
GROWTH_BOUND = 12  # times the CPU time for ten times the lines

HEAD = """machine i386 {
    bits 32
    nops intel { "90"  "89 f6"  "8d 76 00" }
    choose nops intel
}
interface ops on i386 {
    table ".parainstructions" { addr u32  type u16  len u8  clobber u8 }
    max_len 254
    clobbers { eax 1  ecx 2  edx 4 }
"""
RULES = (  # what an op's contract says, and what it becomes; no two statements with a number are the same
    (" -> interrupt_flag", 'asm "cli"'),
    (" -> eax", 'asm "mov eax, {number}"'),
    ("", "call target clobbers any"),
    (" (flags) -> eax", 'asm "pushfd; pop eax"'),
    ("", "nop"),
    ("", 'bytes "0f 06"'),
)


def spec_of(lines: int) -> str:
    """A spec of about so many lines: half of them ops, half rules."""
    count = (lines - len(HEAD.splitlines()) - 3) // 2
    rows = [(number, *RULES[number % len(RULES)]) for number in range(count)]
    ops = "".join(f"    op op_{number} {number}{contract}\n" for number, contract, _ in rows)
    rules = "".join(f"    op_{number} = {rule.format(number=number)}\n" for number, _, rule in rows)
    return f"{HEAD}{ops}}}\nbackend native for ops {{\n{rules}}}\n"


def figures() -> Iterator[Figure]:
    """`--help`, and compiling specs of each size."""
    yield Figure("pvspec --help", _cpu(["--help"]), HELP_BOUND, "ms")
    before: float | None = None
    with tempfile.TemporaryDirectory(prefix="pvspec-benchmark-") as folder:
        for lines in SIZES:
            spec = Path(folder) / f"lines_{lines}.pvs"
            spec.write_text(spec_of(lines), encoding="utf-8")
            taken = _cpu(["compile", str(spec), "-o", str(spec.with_suffix(".py"))])
            first = lines == SIZES[0]
            yield Figure(f"pvspec compile, {lines} lines", taken, COMPILE_BOUND if first else None, "ms")
            if before is not None:
                growth = None if taken is None else taken / before
                yield Figure(f"  of that, for ten times the lines of {lines // 10}", growth, GROWTH_BOUND, "x")
            before = taken


def _cpu(arguments: Sequence[str]) -> float | None:
    """The median CPU time of a process in ms; None if it fails."""

    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "pvspec", *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    try:
        return median(run, REPS)
    except subprocess.CalledProcessError:
        return None
