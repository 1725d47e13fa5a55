"""`pvspec explain`."""

from __future__ import annotations

import argparse

import pvspec
from pvspec.cli import arguments as common
from pvspec.cli.commands.predict import forms_json
from pvspec.cli.kernels import described_kernel, hexadecimal, open_json, reporting, tell_open
from pvspec.cli.report import Json, Report

HELP = "tell what becomes of the code at an address, and why"


def arguments(parser: argparse.ArgumentParser) -> None:
    """A kernel and an address."""
    common.kernel(parser)
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        type=common.place,
        help="an address (0xffffffff810024d6, ffffffff810024d6), or a symbol (start_kernel+0x10, +0x10/0x40)",
    )


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Tell the story of one address."""
    with reporting(report):
        kernel, machine, spec, dump = described_kernel(arguments)
        address = kernel.symbols.parse_address(arguments.address)
        found = pvspec.explain(kernel, machine, address, spec=spec, dump=dump, include=arguments.include)
        report.result = _json(found)
        report.warn(found.warnings)
        for line in found.lines():
            report.say(line)
        tell_open(report, found.open)


def _json(found: pvspec.Explanation) -> dict[str, Json]:
    nearest = {"before": found.before, "after": found.after}
    return {
        **hexadecimal("address", found.address),
        "symbol": found.symbol,
        "open": open_json(found.open),
        "warnings": [*found.warnings],
        "steps": [
            {
                "table": step.site.table,
                "section": step.section,
                "record": step.site.record,
                "fields": {**step.fields},
                "op": step.op,
                "rule": step.site.where or None,
                "spec": step.rule,
                **hexadecimal("site", step.site.address),
                "before": step.site.before.hex(),
                "after": step.site.after.hex(),
                "others": forms_json(step.site.others),
            }
            for step in found.steps
        ],
        "instruction": None if found.instruction is None else _instruction(found.instruction),
        "nearest": {word: None if site is None else _site(site) for word, site in nearest.items()},
    }


def _instruction(found: pvspec.Instruction) -> Json:
    return {**hexadecimal("address", found.address), "code": found.code.hex(), "text": found.text}


def _site(site: pvspec.Site) -> Json:
    return {"table": site.table, **hexadecimal("address", site.address), "length": site.length}
