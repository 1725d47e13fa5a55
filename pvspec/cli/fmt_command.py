"""`pvspec fmt`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pvspec.cli.report import Failure, Report
from pvspec.lang.diagnostics import Findings, SpecError
from pvspec.lang.files import read_source, spec_files
from pvspec.lang.format import format_text
from pvspec.support.output import write_file


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Rewrite specs in the canonical layout; with --check only say which would change."""
    changed: list[str] = []
    report.result = {"changed": changed, "written": not arguments.check}
    for path in _files(arguments.specs):
        text = _formatted(path, report)
        if text is None:
            continue
        changed.append(str(path))
        if arguments.check:
            report.fail(f"{path} is not in the canonical layout; `pvspec fmt {path}` rewrites it")
            continue
        try:
            write_file(path, text.encode())
        except OSError as error:
            raise Failure(f"{path} cannot be written: {error.strerror}") from None
        report.say(f"{path}: rewritten")


def _files(specs: list[str]) -> Iterator[Path]:
    for spec in specs:
        found = list(spec_files(Path(spec)))
        if not found:
            raise Failure(f"{spec} holds no spec")
        yield from found


def _formatted(path: Path, report: Report) -> str | None:
    """The file's canonical text; None if it has it, or is no spec, which the report then says."""
    findings = Findings()
    source = read_source(path, path.name, findings)
    try:
        text = format_text(source) if source is not None else None
    except SpecError as error:
        findings.found += error.diagnostics
        text = None
    report.found(findings.found)
    return None if source is None or text == source.text else text
