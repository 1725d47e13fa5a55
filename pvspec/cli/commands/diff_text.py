"""`pvspec diff-text`."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.kernels import described_kernel, hexadecimal, open_json, reporting
from pvspec.cli.report import Failure, Json, Report

HELP = "compare two texts of a kernel, predicted or dumped, table by table"

_SHOWN = 20  # sites, for people


def arguments(parser: argparse.ArgumentParser) -> None:
    """A kernel and two texts."""
    parser.add_argument("kernel", metavar="KERNEL", help="ELF vmlinux, bzImage or Debian package")
    parser.add_argument("texts", metavar="TEXT", nargs=2, help="a predicted text, or a memory dump of the kernel")
    common.machine(parser)
    parser.set_defaults(vmlinux=None, load_address=None)


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Compare two texts of a kernel; a difference is no failure."""
    with reporting(report):
        kernel, machine, spec, dump = described_kernel(arguments)
        prediction = pvspec.predict(kernel, machine, spec=spec, dump=dump, include=arguments.include)
        report.warn(prediction.warnings)
        try:
            first, second = (_text(Path(path), prediction) for path in arguments.texts)
        except OSError as error:
            raise Failure(f"{error.filename}: cannot be read: {error.strerror}") from None
        _tell(prediction, pvspec.compare(prediction, first, second), report)


def _text(path: Path, prediction: pvspec.Prediction) -> bytes:
    """A text: the file is one, or a dump that has one."""
    size = prediction.end - prediction.start
    if path.stat().st_size == size:
        return path.read_bytes()
    image = prediction.bound.image
    return pvspec.open_dump(path, image, slide=image.slide).read(prediction.start, size)


def _tell(prediction: pvspec.Prediction, differences: list[pvspec.Difference], report: Report) -> None:
    sites = Counter(item.table for item in differences)
    count = Counter[str | None]()
    for item in differences:
        count[item.table] += sum(a != b for a, b in zip(item.first, item.second, strict=True))
    report.result = {
        "text": {**hexadecimal("start", prediction.start), **hexadecimal("end", prediction.end)},
        "open": open_json(prediction.open),
        "warnings": [*prediction.warnings],
        "tables": {name or "none": {"sites": sites[name], "bytes": count[name]} for name in sites},
        "sites": map(_json, differences),
    }
    legal = sum(item.legal for item in differences)
    forms = f", {legal} of which hold codes that they may have" if legal else ""
    report.say(f"{sum(count.values())} bytes differ, at {len(differences)} sites{forms}")
    for name in sorted(sites, key=lambda name: -count[name]):
        report.say(f"{name or 'no table':<16} {sites[name]:>8} sites {count[name]:>8} bytes")
    for item in differences[:_SHOWN]:
        place = prediction.bound.image.symbols.name_of(item.address)
        name = f" {place[0]}+{place[1]:#x}" if place else ""
        both = "  (it may hold both)" if item.legal else ""
        report.say(f"{item.address:#x}{name}: {item.first.hex(' ')} | {item.second.hex(' ')}{both}")
    if len(differences) > _SHOWN:
        report.say(f"and {len(differences) - _SHOWN} more; --json lists all of them")


def _json(item: pvspec.Difference) -> Json:
    place = hexadecimal("address", item.address)
    codes = {"first": item.first.hex(), "second": item.second.hex()}
    return {"table": item.table, **place, **codes, "legal": item.legal}
