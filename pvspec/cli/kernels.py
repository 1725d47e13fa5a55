"""What `apply`, `predict`, `explain` and `diff-text` share: arguments to a kernel bound to its machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.cli.report import Failure, Report
from pvspec.compiled import load_spec
from pvspec.cpu import CpuError, read_cpu
from pvspec.diagnostics import SpecError
from pvspec.kernel import ImageError, KernelImage, open_image
from pvspec.kernel.dump import open_dump
from pvspec.patching import Bound, Choices, PatchingError, bind, shipped_spec


def bound_kernel(arguments: argparse.Namespace, report: Report) -> tuple[Bound, Path] | None:
    """The kernel that the arguments describe, and its spec; None if the spec is wrong, which the report then says."""
    try:
        image = _image(arguments)
        choices = _choices(arguments)
        spec = Path(arguments.spec) if arguments.spec else shipped_spec(image)
        module = load_spec(spec)
        dump = open_dump(arguments.state, image.kernel or image) if arguments.state else None
        return bind(module, image, choices, dump), spec
    except SpecError as error:
        report.found(error.diagnostics)
        return None
    except (CpuError, ImageError, PatchingError) as error:
        raise Failure(str(error)) from None


def _image(arguments: argparse.Namespace) -> KernelImage:
    symbols = Path(arguments.symbols) if arguments.symbols else None
    if not arguments.vmlinux:
        return open_image(Path(arguments.kernel), load_address=arguments.load_address, symbols=symbols)
    kernel = open_image(arguments.vmlinux, symbols=symbols)
    return open_image(Path(arguments.kernel), load_address=arguments.load_address, kernel=kernel)


def _choices(arguments: argparse.Namespace) -> Choices:
    names = [name for name in arguments.features.split(",") if name]
    return Choices(
        arguments.hypervisor,
        arguments.nops,
        features=tuple(name for name in names if not name.startswith("-")),
        lacking=tuple(name[1:] for name in names if name.startswith("-")),
        cpu=read_cpu(arguments.cpu, arguments.vulnerabilities) if arguments.cpu else None,
        cpus=arguments.cpus,
        cmdline=arguments.cmdline,
        options=dict(arguments.option),
    )
