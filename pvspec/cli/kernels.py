"""What `apply`, `predict`, `explain` and `diff-text` share: from arguments to a kernel, its machine and its dump."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pvspec
from pvspec.cli.report import Failure, Json, Report


class Given(NamedTuple):
    """What the arguments describe."""

    kernel: pvspec.KernelImage
    machine: pvspec.Machine
    spec: str | None
    dump: pvspec.Dump | None


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """What the API raises goes to the report: findings of a spec, else an error."""
    try:
        yield
    except pvspec.SpecError as error:
        report.found(error.diagnostics)
    except pvspec.PvspecError as error:
        raise Failure(str(error)) from None


def described_kernel(arguments: argparse.Namespace) -> Given:
    """The kernel where it is in memory, its machine, spec and dump; raises PvspecError."""
    machine = described_machine(arguments)
    vmlinux: str | None = arguments.vmlinux
    symbols, load_address, slide, dump = arguments.symbols, arguments.load_address, arguments.kaslr, None
    if vmlinux is None:
        kernel = pvspec.open_kernel(arguments.kernel, symbols=symbols, load_address=load_address)
    else:
        kernel = pvspec.open_kernel(vmlinux, symbols=symbols)
    if arguments.state:
        dump = pvspec.open_dump(arguments.state, kernel, slide=slide)
        slide = dump.slide
    if slide is not None:
        kernel = kernel.moved(slide)
    if vmlinux is not None:
        kernel = pvspec.open_kernel(arguments.kernel, kernel=kernel, load_address=load_address)
    return Given(kernel, machine, arguments.spec, dump)


def described_machine(arguments: argparse.Namespace) -> pvspec.Machine:
    """The machine that the arguments describe; raises PvspecError."""
    if arguments.vulnerabilities and not arguments.cpu:
        raise Failure("--vulnerabilities requires --cpu")
    names = [name for name in str(arguments.features).split(",") if name]
    return pvspec.Machine(
        cpu=pvspec.read_cpu(arguments.cpu, arguments.vulnerabilities) if arguments.cpu else None,
        cpus=arguments.cpus,
        cmdline=arguments.cmdline,
        hypervisor=arguments.hypervisor,
        features=tuple(name for name in names if not name.startswith("-")),
        lacking=tuple(name[1:] for name in names if name.startswith("-")),
        options=dict(arguments.option),
        nops=arguments.nops,
        assumed=dict(arguments.assume),
        config=pvspec.read_config(arguments.config) if arguments.config else None,
    )


def tell_open(report: Report, open_facts: Iterable[pvspec.Unsettled]) -> None:
    """Say what is open of the machine."""
    for fact in open_facts:
        report.say(str(fact))


def open_json(open_facts: Iterable[pvspec.Unsettled]) -> list[Json]:
    """What `--json` says of that."""
    return [{**fact._asdict(), "failed": fact.failed or None} for fact in open_facts]


def kernel_json(kernel: pvspec.KernelImage) -> Json:
    """What `--json` says of a kernel."""
    return {"kind": kernel.kind, "machine": kernel.machine, "release": kernel.release, "slide": kernel.slide}


def hexadecimal(name: str, address: int) -> dict[str, Json]:
    """An address as `--json` has it: a number, and beside it the text that people search for."""
    return {name: address, f"{name}_hex": f"{address:#x}"}
