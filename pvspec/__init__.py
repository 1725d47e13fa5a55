"""pvspec: what a kernel's machine code becomes once it has patched itself. docs/api.md shows each call.

    from pvspec import Machine, open_kernel, predict, read_cpu
    kernel = open_kernel("linux-image-6.1.0-57-cloud-amd64-unsigned_6.1.192-3_amd64.deb")
    prediction = predict(kernel, Machine(cpu=read_cpu("EPYC"), cmdline="mitigations=off"))

Kernels: `open_kernel`, `open_dump`. Machines: `read_cpu`, `Machine`. What becomes of a kernel: `predict`, `explain`,
`compare`, `patch`. Specs: `check_spec`, `load_spec`, `compile_spec`, `format_spec`, `expand_spec`, `run_tests`,
`prove`, `simulate`.
One site, by hand: `Facts`, `Kernel`. Addresses and sizes are whole numbers, in bytes. Every error is a `PvspecError`.

Each name is imported when it is first asked for, so `import pvspec` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pvspec.compiler.cached import load_spec as load_spec
    from pvspec.compiler.pipeline import Checked as Checked
    from pvspec.compiler.pipeline import check_spec as check_spec
    from pvspec.compiler.pipeline import compile_spec as compile_spec
    from pvspec.compiler.pipeline import load as load
    from pvspec.engine.apply import Kernel as Kernel
    from pvspec.engine.errors import BindError as BindError
    from pvspec.engine.errors import PatchBug as PatchBug
    from pvspec.engine.errors import PatchError as PatchError
    from pvspec.engine.errors import PvspecError as PvspecError
    from pvspec.engine.errors import StateError as StateError
    from pvspec.engine.facts import Facts as Facts
    from pvspec.engine.spec import Spec as Spec
    from pvspec.kernel import Dump as Dump
    from pvspec.kernel import ImageError as ImageError
    from pvspec.kernel import KernelImage as KernelImage
    from pvspec.kernel import Reader as Reader
    from pvspec.kernel import open_dump as open_dump
    from pvspec.kernel import open_kernel as open_kernel
    from pvspec.lang.diagnostics import Diagnostic as Diagnostic
    from pvspec.lang.diagnostics import SpecError as SpecError
    from pvspec.lang.expansion import ExpandedFile as ExpandedFile
    from pvspec.lang.expansion import expand_spec as expand_spec
    from pvspec.lang.format import FormattedFile as FormattedFile
    from pvspec.lang.format import format_spec as format_spec
    from pvspec.lang.target import Target as Target
    from pvspec.lang.target import TargetError as TargetError
    from pvspec.prediction import Bound as Bound
    from pvspec.prediction import Difference as Difference
    from pvspec.prediction import Explanation as Explanation
    from pvspec.prediction import Instruction as Instruction
    from pvspec.prediction import Machine as Machine
    from pvspec.prediction import Patched as Patched
    from pvspec.prediction import Prediction as Prediction
    from pvspec.prediction import PredictionError as PredictionError
    from pvspec.prediction import Site as Site
    from pvspec.prediction import Step as Step
    from pvspec.prediction import Unsettled as Unsettled
    from pvspec.prediction import bind_kernel as bind_kernel
    from pvspec.prediction import compare as compare
    from pvspec.prediction import explain as explain
    from pvspec.prediction import patch as patch
    from pvspec.prediction import predict as predict
    from pvspec.prediction.config import ConfigError as ConfigError
    from pvspec.prediction.config import read_config as read_config
    from pvspec.prediction.cpu import CpuError as CpuError
    from pvspec.prediction.cpu import Processor as Processor
    from pvspec.prediction.cpu import parse_cpuinfo as parse_cpuinfo
    from pvspec.prediction.cpu import profiles as profiles
    from pvspec.prediction.cpu import read_cpu as read_cpu
    from pvspec.prediction.forms import Form as Form
    from pvspec.proof import Cell as Cell
    from pvspec.proof import Proof as Proof
    from pvspec.proof import Regions as Regions
    from pvspec.proof import Undecided as Undecided
    from pvspec.proof import prove as prove
    from pvspec.proof import prove_all as prove_all
    from pvspec.simulation import Simulation as Simulation
    from pvspec.simulation import SimulationError as SimulationError
    from pvspec.simulation import simulate as simulate
    from pvspec.spectest import Result as Result
    from pvspec.spectest import run_tests as run_tests

__version__ = "0.2.0"

_HOMES = {
    "compiler.cached": ("load_spec",),
    "compiler.pipeline": ("Checked", "check_spec", "compile_spec", "load"),
    "engine.apply": ("Kernel",),
    "engine.errors": ("BindError", "PatchBug", "PatchError", "PvspecError", "StateError"),
    "engine.facts": ("Facts",),
    "engine.spec": ("Spec",),
    "kernel": ("Dump", "ImageError", "KernelImage", "Reader", "open_dump", "open_kernel"),
    "lang.diagnostics": ("Diagnostic", "SpecError"),
    "lang.expansion": ("ExpandedFile", "expand_spec"),
    "lang.format": ("FormattedFile", "format_spec"),
    "lang.target": ("Target", "TargetError"),
    "prediction": (
        *(
            "Bound",
            "Difference",
            "Explanation",
            "Instruction",
            "Machine",
            "Patched",
            "Prediction",
            "PredictionError",
            "Site",
            "Step",
            "Unsettled",
        ),
        *("bind_kernel", "compare", "explain", "patch", "predict"),
    ),
    "prediction.config": ("ConfigError", "read_config"),
    "prediction.cpu": ("CpuError", "Processor", "parse_cpuinfo", "profiles", "read_cpu"),
    "prediction.forms": ("Form",),
    "proof": ("Cell", "Proof", "Regions", "Undecided", "prove", "prove_all"),
    "simulation": ("Simulation", "SimulationError", "simulate"),
    "spectest": ("Result", "run_tests"),
}
"""Where each name of the API is, by module."""

_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BindError",
    "Bound",
    "Cell",
    "Checked",
    "ConfigError",
    "CpuError",
    "Diagnostic",
    "Difference",
    "Dump",
    "ExpandedFile",
    "Explanation",
    "Facts",
    "Form",
    "FormattedFile",
    "ImageError",
    "Instruction",
    "Kernel",
    "KernelImage",
    "Machine",
    "PatchBug",
    "PatchError",
    "Patched",
    "Prediction",
    "PredictionError",
    "Processor",
    "Proof",
    "PvspecError",
    "Reader",
    "Regions",
    "Result",
    "Simulation",
    "SimulationError",
    "Site",
    "Spec",
    "SpecError",
    "StateError",
    "Step",
    "Target",
    "TargetError",
    "Undecided",
    "Unsettled",
    "__version__",
    "bind_kernel",
    "check_spec",
    "compare",
    "compile_spec",
    "expand_spec",
    "explain",
    "format_spec",
    "load",
    "load_spec",
    "open_dump",
    "open_kernel",
    "parse_cpuinfo",
    "patch",
    "predict",
    "profiles",
    "prove",
    "prove_all",
    "read_config",
    "read_cpu",
    "run_tests",
    "simulate",
]


if not TYPE_CHECKING:  # or a type checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'pvspec' has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"pvspec.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
