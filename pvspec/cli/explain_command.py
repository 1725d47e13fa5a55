"""`pvspec explain`."""

from __future__ import annotations

import argparse
from typing import Any

from pvspec.cli.kernels import bound_kernel
from pvspec.cli.report import Failure, Report
from pvspec.compile.pipeline import check_spec
from pvspec.kernel import ImageError, KernelImage
from pvspec.predict.bind import PatchingError
from pvspec.predict.explain import Step, explain, shown


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Tell the story of one address."""
    found = bound_kernel(arguments, report)
    if found is None:
        return
    bound, spec = found
    try:
        address = _address(bound.image, arguments.address)
        steps = explain(bound, address)
        name = _name(bound.image, address)
    except (ImageError, PatchingError) as error:
        raise Failure(str(error)) from None
    report.result = {"address": address, "symbol": name, "steps": [_json(step) for step in steps]}
    if not steps:
        raise Failure(f"{address:#x}{_in(name)}: no table has a site there")
    program = check_spec(spec).sound()
    rules = {arm.span.where: " ".join(arm.span.source.line(arm.span.line).split()) for arm in program.spec.arms()}
    report.say(f"{address:#x}{_in(name)}")
    for step in steps:
        for line in shown(step, bound.image.bits, rules):
            report.say(line)


def _address(image: KernelImage, text: str) -> int:
    """The address that a text on the command line names."""
    try:
        return image.symbols.parse_address(text)
    except ImageError as error:
        raise Failure(f"{image.name}: {error}") from None


def _name(image: KernelImage, address: int) -> str | None:
    found = image.symbols.name_of(address)
    return None if found is None else f"{found[0]}+{found[1]:#x}"


def _in(name: str | None) -> str:
    return f" ({name})" if name else ""


def _json(step: Step) -> dict[str, Any]:
    site = step.site
    return {
        "table": site.family,
        "section": step.section,
        "record": site.record,
        "fields": dict(step.fields),
        "op": step.op,
        "rule": site.where or None,
        "site": site.address,
        "before": site.before.hex(),
        "after": site.after.hex(),
        "others": [{"code": form.code, "rule": form.where or None} for form in site.others],
    }
