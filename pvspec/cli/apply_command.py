"""`pvspec apply`."""

from __future__ import annotations

import argparse

from pvspec.cli.kernels import bound_kernel
from pvspec.cli.report import Failure, Report
from pvspec.kernel import ImageError
from pvspec.patching import Bound, PatchingError


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Patch a kernel's sites and write the patched ELF."""
    bound = bound_kernel(arguments, report)
    if bound is None:
        return
    if not bound.tables:
        raise Failure(f"{bound.image.path}: has none of the tables that the spec knows")
    try:
        memory, pokes = bound.patched()
        bound.image.write(arguments.output, memory)
    except (ImageError, PatchingError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{arguments.output} cannot be written: {error.strerror}") from None
    _tell(bound, memory, pokes, arguments.output, report)


def _tell(bound: Bound, memory: bytearray, pokes: int, output: str, report: Report) -> None:
    image, spec = bound.image, bound.module.SPEC
    changed = sum(a != b for a, b in zip(image.memory, memory, strict=True))
    passes = [
        {"table": name, "records": len(list(bound.module.parse_records(_layout(spec, name), *bound.tables[name])))}
        for name in spec.passes
        if name in bound.tables
    ]
    report.result = {
        "output": output,
        "kernel": {"kind": image.kind, "machine": image.machine, "release": image.release},
        "passes": passes,
        "pokes": pokes,
        "bytes_changed": changed,
    }
    for entry in passes:
        report.say(f"{entry['table']:<20} {entry['records']:>7} records")
    report.say(f"{output}: {image.release}, {pokes} pokes, {changed} bytes changed")


def _layout(spec: object, name: str) -> object:
    families = getattr(spec, "families", {})
    return families[name].layout if name in families else spec.interface.layout
