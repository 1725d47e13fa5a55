"""`pvspec predict`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pvspec.cli.kernels import described, predicted_kernel
from pvspec.cli.report import Failure, Report
from pvspec.prediction import Prediction, Site
from pvspec.support.output import replacing


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Predict a kernel's text after boot."""
    prediction = predicted_kernel(arguments, report)
    if prediction is None:
        return
    if arguments.output:
        _write(arguments.output, prediction)
    report.result = _result(prediction, arguments.json)
    for line in _lines(prediction):
        report.say(line)
    if arguments.output:
        report.say(f"{arguments.output}: {len(prediction.text)} bytes of text from {prediction.start:#x} on")


def _write(path: str, prediction: Prediction) -> None:
    try:
        with replacing(Path(path)) as file:
            file.write(prediction.text)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


def _lines(prediction: Prediction) -> Iterator[str]:
    image = prediction.bound.image
    moved = f", moved by {image.slide:#x}" if image.slide else ""
    yield f"{image.release} on {image.machine}: text {prediction.start:#x} to {prediction.end:#x}{moved}"
    yield f"{'':<16} {'records':>8} {'in text':>8} {'changed':>8} {'two-formed':>11}"
    for name, counts in prediction.counts.items():
        if name not in prediction.bound.tables:
            yield f"{name:<16} absent: {prediction.bound.absence(name)}"
            continue
        numbers = (counts[key] for key in ("records", "sites", "changed"))
        yield f"{name:<16} " + " ".join(f"{number:>8}" for number in numbers) + f" {counts['open']:>11}"


def _result(prediction: Prediction, whole: bool) -> dict[str, Any]:
    bound = prediction.bound
    known = bound.module.MACHINE.features.items()
    return {
        "kernel": described(bound.image),
        "text": {"start": prediction.start, "end": prediction.end},
        "features": sorted(name for name, number in known if number in bound.kernel.features),
        "families": prediction.counts,
        "absent": [name for name in bound.module.SPEC.passes if name not in bound.tables],
        "sites": [_site(site) for site in prediction.sites] if whole else [],
    }


def _site(site: Site) -> dict[str, Any]:
    return {
        "family": site.family,
        "address": site.address,
        "length": site.length,
        "before": site.before.hex(),
        "after": site.after.hex(),
        "rule": site.where or None,
        "others": [{"code": form.code, "rule": form.where or None} for form in site.others],
    }
