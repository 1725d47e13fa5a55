"""`pvspec predict`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.files import replace
from pvspec.cli.json_text import Rows, Streamed
from pvspec.cli.kernels import described_kernel, hexadecimal, kernel_json, open_json, reporting, tell_open
from pvspec.cli.report import Json, Report

HELP = "say what a kernel's text is once it has patched itself"


def arguments(parser: argparse.ArgumentParser) -> None:
    """A kernel, and the file to write."""
    common.kernel(parser)
    parser.add_argument("-o", "--output", metavar="TEXT", help="the text to write, from _text to _etext")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Predict a kernel's text after boot."""
    output: str | None = arguments.output
    with reporting(report):
        kernel, machine, spec, dump = described_kernel(arguments)
        prediction = pvspec.predict(kernel, machine, spec=spec, dump=dump, include=arguments.include)
        if output:
            replace(output, prediction.text)
        if arguments.json:
            _count_sites(prediction)
        report.result = _result(prediction)
        report.warn(prediction.warnings)
        for line in _lines(prediction):
            report.say(line)
        tell_open(report, prediction.open)
        if output:
            report.say(f"{output}: {len(prediction.text)} bytes of text from {prediction.start:#x} on")


def _lines(prediction: pvspec.Prediction) -> Iterator[str]:
    image = prediction.bound.image
    moved = f", moved by {image.slide:#x}" if image.slide else ""
    yield f"{image.release} on {image.machine}: text {prediction.start:#x} to {prediction.end:#x}{moved}"
    yield f"{'':<16} {'records':>8} {'in text':>8} {'changed':>8} {'dynamic':>8}"
    for name, counts in prediction.counts.items():
        if name not in prediction.bound.tables:
            yield f"{name:<16} absent: {prediction.bound.absence(name)}"
            continue
        numbers = (counts[key] for key in ("records", "sites", "changed", "dynamic"))
        yield f"{name:<16} " + " ".join(f"{number:>8}" for number in numbers)


def _result(prediction: pvspec.Prediction) -> dict[str, Streamed]:
    bound = prediction.bound
    return {
        "kernel": kernel_json(bound.image),
        "text": {**hexadecimal("start", prediction.start), **hexadecimal("end", prediction.end)},
        "features": [*sorted(prediction.features)],
        "open": open_json(prediction.open),
        "warnings": [*prediction.warnings],
        "tables": {name: {**counts} for name, counts in prediction.counts.items()},
        "absent": [name for name in bound.spec.passes if name not in bound.tables],
        "sites": Rows(_sites(prediction)),
    }


def _sites(prediction: pvspec.Prediction) -> Iterator[str]:
    """Each site as JSON. There may be a million, so this does for them what `json` would do, in a fifth of its time."""
    named = _Named({"": "null"})
    for table, _, address, length, before, after, where, others in prediction.sites:
        forms = ", ".join(
            f'{{"code": "{code.replace(" ", "")}", "rule": {named[rule]}, "when": {named[when]}}}'
            for code, rule, when in others or ()
        )
        yield (
            f'{{"address": {address}, "after": "{after.hex()}", "before": "{before.hex()}", "length": {length}, '
            f'"others": [{forms}], "rule": {named[where]}, "table": {named[table]}}}'
        )


def _count_sites(prediction: pvspec.Prediction) -> None:
    """ImageError if it takes too much to list them."""
    sites, dynamic = len(prediction.sites), sum(counts["dynamic"] for counts in prediction.counts.values())
    work = prediction.work.continued()
    work.add(sites * _SITE_WORK + dynamic * _FORMS_WORK, f"{prediction.bound.image.name}: listing {sites} sites")


class _Named(dict[str, str]):
    """Names as JSON, of which there are few."""

    def __missing__(self, name: str) -> str:
        text = self[name] = json.dumps(name)
        return text


_SITE_WORK, _FORMS_WORK = 5, 60  # units of work: to list a site, and its other forms


def forms_json(forms: Iterable[pvspec.Form]) -> list[Json]:
    """Other legal forms as `--json` has them."""
    return [
        {"code": form.code.replace(" ", ""), "rule": form.where or None, "when": form.when or None} for form in forms
    ]
