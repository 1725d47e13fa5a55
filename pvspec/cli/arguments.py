"""Kinds of arguments, and arguments that several commands share."""

from __future__ import annotations

import argparse
import re


def specs(parser: argparse.ArgumentParser) -> None:
    """One or more specs."""
    parser.add_argument("specs", metavar="SPEC|DIR", nargs="+", help="spec files, or directories of them")
    include(parser)


def target(parser: argparse.ArgumentParser) -> None:
    """Which of the kernels that a spec describes is meant."""
    parser.add_argument("--kernel", metavar="VERSION", dest="version", help="of a spec for several kernels: this one")
    parser.add_argument("--machine", metavar="NAME", help="of a spec for several machines: this one")


def include(parser: argparse.ArgumentParser) -> None:
    """What a spec may read."""
    parser.add_argument(
        "--include",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder that a spec may include files of, besides its own and the shipped specs; may be repeated",
    )


def config(parser: argparse.ArgumentParser) -> None:
    """What the kernel was configured with."""
    parser.add_argument("--config", metavar="FILE", help="the kernel's configuration, as in /boot/config-*")


def kernel(parser: argparse.ArgumentParser) -> None:
    """A kernel or module, and the machine that runs it."""
    parser.add_argument("kernel", metavar="KERNEL", help="ELF vmlinux, bzImage, module (.ko) or Debian package")
    machine(parser)
    parser.add_argument("--vmlinux", metavar="KERNEL", help="for a module: the kernel that loads it")
    parser.add_argument("--load-address", metavar="ADDRESS", type=_address, help="for a module: where it is loaded")


def machine(parser: argparse.ArgumentParser) -> None:
    """What a kernel's text depends on besides its image."""
    parser.add_argument("--spec", metavar="DIR", help="the spec; default: the shipped one for this kernel")
    include(parser)
    parser.add_argument("--cpu", metavar="PROFILE|FILE", help="a shipped CPU profile, or a machine's /proc/cpuinfo")
    parser.add_argument(
        "--vulnerabilities", metavar="PATH", help="the machine's /sys/devices/system/cpu/vulnerabilities, or its lines"
    )
    parser.add_argument(
        "--features",
        metavar="NAME,…",
        default="",
        help="extra CPU features, comma-separated; prefix with - to remove one",
    )
    parser.add_argument(
        "--cpus",
        metavar="N",
        type=_count,
        help="processors there were when it patched itself (2 or more: as the cpuinfo has; without one 2)",
    )
    parser.add_argument(
        "--hypervisor", "--backend", metavar="NAME", default="native", help="the hypervisor under the kernel (native)"
    )
    config(parser)
    parser.add_argument("--cmdline", metavar="WORDS", default="", help="the kernel's command line")
    parser.add_argument(
        "--assume",
        metavar="NAME=ANSWER",
        type=_assumption,
        action="append",
        default=[],
        help="settle what is open: a feature with yes or no, `threads` and `microcode` with a number; may be repeated",
    )
    parser.add_argument("--state", metavar="DUMP", help="memory dump of a machine that runs this kernel")
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


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
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


def _option(text: str) -> tuple[str, bool]:
    name, _, value = text.partition("=")
    if value not in ("true", "false"):
        raise argparse.ArgumentTypeError("must be NAME=true or NAME=false")
    return name, value == "true"


def _assumption(text: str) -> tuple[str, bool | int]:
    name, _, answer = text.partition("=")
    if answer in ("yes", "no"):
        return name, answer == "yes"
    return name, _number(answer, "NAME=yes, NAME=no, or threads= or microcode= and a number")


def place(text: str) -> str:
    """An address, or a symbol with an offset, in the forms that kernels print."""
    number = r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})"
    if not re.fullmatch(rf"[\w.]+(\+{number}(/{number})?)?", text):
        raise argparse.ArgumentTypeError("must be an address, or a symbol as in start_kernel+0x10 or f+0x76/0x220")
    return text
