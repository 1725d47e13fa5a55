"""`pvspec diff-text`."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from pvspec.cli.kernels import predicted_kernel
from pvspec.cli.report import Failure, Report
from pvspec.kernel import ImageError
from pvspec.kernel.dump.dump import open_dump
from pvspec.predict import Prediction
from pvspec.predict.compare import Difference, difference

_SHOWN = 20  # sites, for people


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Compare two texts of a kernel; a difference is no failure."""
    prediction = predicted_kernel(arguments, report)
    if prediction is None:
        return
    try:
        first, second = (_text(Path(path), prediction) for path in arguments.texts)
    except ImageError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{error.filename}: cannot be read: {error.strerror}") from None
    differences = difference(prediction, first, second)
    _tell(prediction, differences, report)


def _text(path: Path, prediction: Prediction) -> bytes:
    """A text: the file is one, or a dump that has one."""
    size = prediction.end - prediction.start
    if path.stat().st_size == size:
        return path.read_bytes()
    image = prediction.bound.image
    return open_dump(path, image, slide=image.slide).read(prediction.start, size)


def _tell(prediction: Prediction, differences: list[Difference], report: Report) -> None:
    sites = Counter(item.family for item in differences)
    count = Counter[str | None]()
    for item in differences:
        count[item.family] += sum(a != b for a, b in zip(item.first, item.second, strict=True))
    report.result = {
        "text": {"start": prediction.start, "end": prediction.end},
        "families": {name or "none": {"sites": sites[name], "bytes": count[name]} for name in sites},
        "sites": [
            {"family": item.family, "address": item.address, "first": item.first.hex(), "second": item.second.hex()}
            for item in differences
        ],
    }
    report.say(f"{sum(count.values())} bytes differ, at {len(differences)} sites")
    for name in sorted(sites, key=lambda name: -count[name]):
        report.say(f"{name or 'no table':<16} {sites[name]:>8} sites {count[name]:>8} bytes")
    for item in differences[:_SHOWN]:
        place = prediction.bound.image.symbols.name_of(item.address)
        name = f"{place[0]}+{place[1]:#x}" if place else ""
        report.say(f"{item.address:#x} {name}: {item.first.hex(' ')} | {item.second.hex(' ')}")
    if len(differences) > _SHOWN:
        report.say(f"… and {len(differences) - _SHOWN} more; --json has all of them")
