"""The patch function and the applier, as ratios to the C loop of the same run; the memory of a million sites."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator

from benchmarks.figure import Figure, median
from benchmarks.workload import BASE, Anchor, Workload, anchor, make_kernel, make_workload
from pvspec.engine.apply import Kernel

PATCH_BOUND = 25  # times the C loop
TABLE_BOUND = 9
MEMORY_BOUND = 3  # times text and table, these included


def figures(sites: int, reps: int) -> Iterator[Figure]:
    """All of them, for so many sites in 16 MiB of text."""
    workload = make_workload(sites)
    kernel, table = make_kernel(workload.ops, 32), workload.table(32)
    wide, records = make_kernel(workload.ops, 64), workload.table(64)
    ways: list[tuple[str, float | None, Callable[[bytearray], object]]] = [
        ("patch(), site by site", PATCH_BOUND, lambda text: patch_only(kernel, table)),
        ("  with copy, pad() and poke around it", None, lambda text: one_by_one(kernel, table, text)),
        ("apply(), 32-bit records", TABLE_BOUND, lambda text: kernel.apply(table, text, BASE)),
        ("apply(), 64-bit records", None, lambda text: wide.apply(records, text, BASE)),
    ]
    with anchor(workload) as loop:
        for name, bound, patch in ways:
            yield _ratio(name, bound, patch, workload, loop, reps)
    yield _memory("a million sorted sites", 10 * sites, random.Random(0), shuffled=False)
    yield _memory("a million unsorted sites", 10 * sites, random.Random(0), shuffled=True)


def one_by_one(kernel: Kernel, table: bytes, text: bytearray) -> None:
    """As the kernel's own loop: original bytes to insnbuf, patch, pad, one write."""
    patch, pad = kernel.patch, kernel.pad
    for addr, type, length, clobber in struct.iter_unpack("<IBBH", table):
        start = addr - BASE
        end = start + length
        insnbuf = text[start:end]
        used = patch(type, clobber, insnbuf, addr, length)
        if used < length:
            pad(insnbuf, used, length)
        text[start:end] = insnbuf


def patch_only(kernel: Kernel, table: bytes) -> None:
    """All sites in one buffer, to no effect."""
    patch, insnbuf = kernel.patch, bytearray(254)
    for addr, type, length, clobber in struct.iter_unpack("<IBBH", table):
        patch(type, clobber, insnbuf, addr, length)


def _ratio(
    name: str,
    bound: float | None,
    patch: Callable[[bytearray], object],
    workload: Workload,
    loop: Anchor,
    reps: int,
) -> Figure:
    def run() -> float:
        text = bytearray(workload.text)
        start = time.process_time_ns()
        patch(text)
        taken = (time.process_time_ns() - start) / len(workload.sites)
        if text not in (loop.image, workload.text):
            raise AssertionError(f"{name}: not the image of the C loop")
        return taken

    before = loop.run(reps)
    taken = median(run, reps)
    anchored = (before + loop.run(reps)) / 2
    return Figure(name, taken / anchored, bound, "x C", f"{taken:.0f} ns a site, C {anchored:.1f}")


def _memory(name: str, count: int, rng: random.Random, *, shuffled: bool) -> Figure:
    workload = make_workload(count)
    if shuffled:
        rng.shuffle(workload.sites)
    kernel, table, text = make_kernel(workload.ops, 32), workload.table(32), bytearray(workload.text)
    tracemalloc.start()
    kernel.apply(table, text, BASE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = len(text) + len(table)
    note = f"{peak / 1e6:.0f} MB beside {held / 1e6:.0f} MB of text and table"
    return Figure(f"memory, {name}", (held + peak) / held, MEMORY_BOUND, "x both", note)
