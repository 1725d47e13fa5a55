"""`pvspec apply`."""

from __future__ import annotations

import argparse

from pvspec.cli.kernels import bound_kernel, described
from pvspec.cli.report import Failure, Report
from pvspec.kernel import ImageError
from pvspec.predict.bind import Bound, PatchingError


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Patch a kernel's sites and write the patched ELF."""
    found = bound_kernel(arguments, report)
    if found is None:
        return
    bound, _ = found
    if not bound.tables:
        raise Failure(f"{bound.image.name}: has none of the tables that the spec knows")
    try:
        memory, pokes = bound.patched()
        bound.image.write(arguments.output, memory)
    except (ImageError, PatchingError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{arguments.output} cannot be written: {error.strerror}") from None
    _tell(bound, memory, pokes, arguments.output, report)


def _tell(bound: Bound, memory: bytearray, pokes: int, output: str, report: Report) -> None:
    image, module = bound.image, bound.module
    changed = _differing(image.memory, memory)
    passes = [{"table": name, "records": bound.records(name)} for name in module.SPEC.passes if name in bound.tables]
    absent = [name for name in module.SPEC.passes if name not in bound.tables]
    report.result = {
        "output": output,
        "kernel": described(image),
        "passes": passes,
        "absent": absent,
        "pokes": pokes,
        "bytes_changed": changed,
    }
    for entry in passes:
        report.say(f"{entry['table']:<20} {entry['records']:>7} records")
    for name in absent:
        report.say(f"{name:<20} absent: {bound.absence(name)}")
    report.say(f"{output}: {image.release}, {pokes} pokes, {changed} bytes changed")


def _differing(before: bytearray, after: bytearray) -> int:
    """How many bytes differ; pages that are equal cost little."""
    pages = range(0, len(before), _PAGE)
    return sum(
        sum(a != b for a, b in zip(before[page : page + _PAGE], after[page : page + _PAGE], strict=True))
        for page in pages
        if before[page : page + _PAGE] != after[page : page + _PAGE]
    )


_PAGE = 4096
