"""What `apply`, `predict`, `explain` and `diff-text` share: arguments to a kernel bound to its machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.cli.report import Failure, Report
from pvspec.compile.cached import load_spec
from pvspec.kernel import ImageError, KernelImage, open_image
from pvspec.kernel.dump.dump import Dump, open_dump
from pvspec.lang.diagnostics import SpecError
from pvspec.predict import Prediction, predict
from pvspec.predict.bind import Bound, Choices, PatchingError, bind, shipped_spec
from pvspec.predict.cpu import CpuError, read_cpu


def bound_kernel(arguments: argparse.Namespace, report: Report) -> tuple[Bound, Path] | None:
    """The kernel that the arguments describe, and its spec; None if the spec is wrong, which the report then says."""
    try:
        image, dump = _image(arguments)
        choices = _choices(arguments)
        spec = Path(arguments.spec) if arguments.spec else shipped_spec(image)
        module = load_spec(spec)
        return bind(module, image, choices, dump), spec
    except SpecError as error:
        report.found(error.diagnostics)
        return None
    except (CpuError, ImageError, PatchingError) as error:
        raise Failure(str(error)) from None


def predicted_kernel(arguments: argparse.Namespace, report: Report) -> Prediction | None:
    """The prediction for the kernel that the arguments describe; None if the spec is wrong."""
    found = bound_kernel(arguments, report)
    if found is None:
        return None
    bound, _ = found
    if bound.module.SPEC.policy and not arguments.cpu and not arguments.features:
        raise Failure("on which CPU? name a profile or a /proc/cpuinfo with --cpu, or its features with --features")
    try:
        return predict(bound)
    except PatchingError as error:
        raise Failure(str(error)) from None


def _image(arguments: argparse.Namespace) -> tuple[KernelImage, Dump | None]:
    symbols = arguments.symbols or None
    if not arguments.vmlinux:
        return _moved(open_image(arguments.kernel, load_address=arguments.load_address, symbols=symbols), arguments)
    kernel, dump = _moved(open_image(arguments.vmlinux, symbols=symbols), arguments)
    return open_image(arguments.kernel, load_address=arguments.load_address, kernel=kernel), dump


def _moved(image: KernelImage, arguments: argparse.Namespace) -> tuple[KernelImage, Dump | None]:
    """The kernel where the arguments or the dump say that it is, and the dump."""
    moved = image if arguments.kaslr is None else image.moved(arguments.kaslr)
    if not arguments.state:
        return moved, None
    dump = open_dump(arguments.state, image, slide=arguments.kaslr)
    return image.moved(dump.slide), dump


def described(image: KernelImage) -> dict[str, str | int]:
    """What `--json` says of a kernel."""
    return {"kind": image.kind, "machine": image.machine, "release": image.release, "slide": image.slide}


def _choices(arguments: argparse.Namespace) -> Choices:
    if arguments.vulnerabilities and not arguments.cpu:
        raise Failure("--vulnerabilities tell what a kernel makes of a CPU: name that with --cpu")
    cpu = read_cpu(arguments.cpu, arguments.vulnerabilities) if arguments.cpu else None
    names = [name for name in arguments.features.split(",") if name]
    return Choices(
        arguments.hypervisor,
        arguments.nops,
        features=tuple(name for name in names if not name.startswith("-")),
        lacking=tuple(name[1:] for name in names if name.startswith("-")),
        cpu=cpu,
        cpus=arguments.cpus or (cpu.count if cpu else 0) or _CPUS,
        cmdline=arguments.cmdline,
        options=dict(arguments.option),
    )


_CPUS = 2  # where nobody says how many there are
