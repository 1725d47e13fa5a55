"""The command line: one file a command, and nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from pvspec import __version__
from pvspec.cli.report import Failure, Report
from pvspec.lang.diagnostics import printable

COMMANDS = {
    "compile": "compile a spec to a Python module of patch functions",
    "check": "check a spec and report all that is wrong with it",
    "test": "run the tests in a spec",
    "prove": "prove what can be proven of a spec's code, and say what cannot",
    "fmt": "bring specs into the canonical layout",
    "apply": "patch the sites of a kernel as it would itself",
    "predict": "say what a kernel's text is once it has patched itself",
    "explain": "tell what becomes of the site at an address, and why",
    "diff-text": "compare two texts of a kernel, predicted or dumped, family by family",
    "simulate": "patch a small kernel that runs what it patches, in ways that fail and ways that do not",
}


@contextmanager
def _without_collector() -> Iterator[None]:
    """A run is short, and the collector would take a tenth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0: fine, 1: the input is wrong or a test failed, 2: wrong usage."""
    parsed = _parser().parse_args(arguments)
    command = importlib.import_module(f"pvspec.cli.{parsed.command.replace('-', '_')}_command")
    report = Report(parsed.command)
    try:
        command.run(parsed, report)
    except Failure as failure:
        report.fail(str(failure))
    try:
        _show(report, parsed.json)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has read enough; the interpreter must not try again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0 if report.ok else 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return int(text)


def _address(text: str) -> int:
    return _number(text, "an address such as 0xffffffff81000000")


def _slide(text: str) -> int:
    return _number(text, "a number of bytes such as 0x1e000000")


def _number(text: str, what: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise argparse.ArgumentTypeError(f"must be {what}")
    return number


def _place(text: str) -> str:
    if not re.fullmatch(r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}|[A-Za-z_.][\w.]*)(\+(0[xX][0-9a-fA-F]+|[0-9]+))?", text):
        raise argparse.ArgumentTypeError("must be an address, or a symbol as in start_kernel+0x10")
    return text


def _option(text: str) -> tuple[str, bool]:
    name, _, value = text.partition("=")
    if value not in ("true", "false"):
        raise argparse.ArgumentTypeError("must be NAME=true or NAME=false")
    return name, value == "true"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pvspec", description="Say once how a kernel patches its text.")
    parser.add_argument("--version", action="version", version=f"pvspec {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        _ARGUMENTS[name](command)
        command.add_argument("--json", action="store_true", help="print one JSON object for machines")
    return parser


def _compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC|DIR", help="a spec file, or a directory of them")
    parser.add_argument("-o", "--output", metavar="OUT.py", required=True, help="the module to write")


def _specs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", metavar="SPEC|DIR", nargs="+", help="spec files, or directories of them")


def _check(parser: argparse.ArgumentParser) -> None:
    _specs(parser)
    parser.add_argument("--deny-warnings", action="store_true", help="fail if there is a warning")


def _prove(parser: argparse.ArgumentParser) -> None:
    _specs(parser)
    parser.add_argument("--regions", action="store_true", help="print when each arm of each chain fires")


def _fmt(parser: argparse.ArgumentParser) -> None:
    _specs(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")


def _kernel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kernel", metavar="KERNEL", help="ELF vmlinux, bzImage, module (.ko) or Debian package")
    _choices(parser)
    parser.add_argument("--vmlinux", metavar="KERNEL", help="for a module: the kernel that loads it")
    parser.add_argument("--load-address", metavar="ADDRESS", type=_address, help="where a module lies")


def _choices(parser: argparse.ArgumentParser) -> None:
    """What a kernel's text depends on besides its image."""
    parser.add_argument("--spec", metavar="DIR", help="the spec; default: the shipped one for this kernel")
    parser.add_argument("--cpu", metavar="PROFILE|FILE", help="a shipped CPU profile, or a machine's /proc/cpuinfo")
    parser.add_argument("--vulnerabilities", metavar="PATH", help="the machine's …/system/cpu/vulnerabilities")
    parser.add_argument(
        "--features",
        metavar="NAME,…",
        default="",
        help="features that the kernel decided by (none); with --cpu: that the CPU has besides, with - has not",
    )
    parser.add_argument("--cpus", metavar="N", type=_count, help="processors (as many as the cpuinfo has; else 2)")
    parser.add_argument(
        "--hypervisor", "--backend", metavar="NAME", default="native", help="who answers the ops (native)"
    )
    parser.add_argument("--cmdline", metavar="WORDS", default="", help="the kernel's command line")
    parser.add_argument("--state", metavar="DUMP", help="memory of the running kernel: an ELF core, or the image's")
    parser.add_argument(
        "--kaslr", metavar="SLIDE", type=_slide, help="bytes by which KASLR moved the kernel (as the dump says; else 0)"
    )
    parser.add_argument("--nops", metavar="NAME", help="nop table; default: what the kernel would choose")
    parser.add_argument(
        "--option", metavar="NAME=BOOL", type=_option, action="append", default=[], help="an option of the spec"
    )
    parser.add_argument(
        "--symbols", metavar="FILE", help="a System.map, or a package or vmlinux with debug symbols (its own kallsyms)"
    )


def _apply(parser: argparse.ArgumentParser) -> None:
    _kernel(parser)
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the patched ELF to write")


def _predict(parser: argparse.ArgumentParser) -> None:
    _kernel(parser)
    parser.add_argument("-o", "--output", metavar="TEXT", help="the text to write, from _text to _etext")


def _diff_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kernel", metavar="KERNEL", help="ELF vmlinux, bzImage or Debian package")
    parser.add_argument("texts", metavar="TEXT", nargs=2, help="a predicted text, or a memory dump of the kernel")
    _choices(parser)
    parser.set_defaults(vmlinux=None, load_address=None)


def _explain(parser: argparse.ArgumentParser) -> None:
    _kernel(parser)
    parser.add_argument("address", metavar="ADDRESS", type=_place, help="in the site; or a symbol: start_kernel+0x10")


def _simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC|DIR", nargs="?", help="an i386 spec; default: Linux 2.6.23's")
    parser.add_argument("--backend", metavar="NAME", default="xen", help="who answers the ops (xen)")
    parser.add_argument(
        "--strategy",
        choices=("two-stage", "unfilled", "marshalled", "breakpoint", "all"),
        default="all",
        help="the way to patch (all)",
    )
    parser.add_argument("--svg", metavar="FILE", help="draw each moment of a patch against a second processor")


_ARGUMENTS = {
    "compile": _compile,
    "check": _check,
    "test": _specs,
    "prove": _prove,
    "fmt": _fmt,
    "apply": _apply,
    "predict": _predict,
    "explain": _explain,
    "diff-text": _diff_text,
    "simulate": _simulate,
}


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json(), indent=2, sort_keys=True))
        return
    for text in report.problems():
        print(text, end="\n\n", file=sys.stderr)
    for line in report.lines:
        print(line)
