"""`pvspec explain`."""

from __future__ import annotations

import argparse
from typing import Any

from pvspec.cli.kernels import bound_kernel
from pvspec.cli.report import Failure, Report
from pvspec.explain import Step, explain, shown
from pvspec.kernel import ImageError, KernelImage
from pvspec.patching import PatchingError


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Tell the story of one address."""
    found = bound_kernel(arguments, report)
    if found is None:
        return
    bound, program = found
    try:
        steps = explain(bound, arguments.address)
        name = _name(bound.image, arguments.address)
    except (ImageError, PatchingError) as error:
        raise Failure(str(error)) from None
    report.result = {"address": arguments.address, "symbol": name, "steps": [_json(step) for step in steps]}
    if not steps:
        raise Failure(f"{arguments.address:#x}{_in(name)}: no table has a site there")
    rules = {arm.span.where: arm.span.source.line(arm.span.line).strip() for arm in program.spec.arms()}
    report.say(f"{arguments.address:#x}{_in(name)}")
    for step in steps:
        for line in shown(step, bound.image.bits, rules):
            report.say(line)


def _name(image: KernelImage, address: int) -> str | None:
    found = image.symbols.name_of(address)
    return None if found is None else f"{found[0]}+{found[1]:#x}"


def _in(name: str | None) -> str:
    return f" ({name})" if name else ""


def _json(step: Step) -> dict[str, Any]:
    return {
        "table": step.table,
        "section": step.section,
        "record": step.record,
        "fields": dict(step.fields),
        "op": step.op,
        "rule": step.where,
        "site": step.site,
        "before": step.before.hex(),
        "after": step.after.hex(),
    }
