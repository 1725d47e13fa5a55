"""What `apply` and `explain` share: arguments to a bound kernel."""

from __future__ import annotations

import argparse
from pathlib import Path

from pvspec.assemble import Program
from pvspec.cli.report import Failure, Report
from pvspec.compiler import check_spec, import_text
from pvspec.diagnostics import SpecError
from pvspec.kernel import ImageError, KernelImage, open_image
from pvspec.patching import Bound, Choices, PatchingError, bind, shipped_spec
from pvspec.render import render


def bound_kernel(arguments: argparse.Namespace, report: Report) -> tuple[Bound, Program] | None:
    """The kernel that the arguments describe, and its spec; None if the spec is wrong, which the report then says."""
    try:
        image = _image(arguments)
        spec = Path(arguments.spec) if arguments.spec else shipped_spec(image)
        program = check_spec(spec).sound()
        module = import_text(render(program), "pvspec.generated.applied")
        return bind(module, image, _choices(arguments)), program
    except SpecError as error:
        report.found(error.diagnostics)
        return None
    except (ImageError, PatchingError) as error:
        raise Failure(str(error)) from None


def _image(arguments: argparse.Namespace) -> KernelImage:
    symbols = Path(arguments.symbols) if arguments.symbols else None
    kernel = open_image(arguments.vmlinux) if arguments.vmlinux else None
    return open_image(Path(arguments.kernel), load_address=arguments.load_address, kernel=kernel, symbols=symbols)


def _choices(arguments: argparse.Namespace) -> Choices:
    features = tuple(name for name in arguments.cpu.split(",") if name)
    options = dict(arguments.option)
    return Choices(arguments.backend, arguments.nops, features, arguments.cpus, options)
