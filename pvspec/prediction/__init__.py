"""What a kernel's text is once it has patched itself, without booting it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pvspec.engine.spec import Spec
from pvspec.engine.value import Value
from pvspec.kernel import KernelImage
from pvspec.kernel.dump.dump import Dump
from pvspec.lang.files import SpecLines
from pvspec.prediction.bind import Bound, bind
from pvspec.prediction.difference import Difference, difference, masks
from pvspec.prediction.explanation import Explanation, Instruction, Step, explain_bound
from pvspec.prediction.machine import Machine, PredictionError
from pvspec.prediction.passes import Prediction, Site, run_passes
from pvspec.prediction.specs import shipped_spec, spec_for, version_warnings
from pvspec.prediction.unsettled import Unsettled, open_questions
from pvspec.prediction.worlds import name_of

__all__ = [
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
    "bind_kernel",
    "compare",
    "explain",
    "patch",
    "predict",
]


class Patched(Value):
    """A kernel's memory after all passes, laid out as the image's; the number of pokes, and of bytes that changed.

    `open`: what nothing tells of the machine, though its text may hang on it, as specs call it.
    """

    bound: Bound
    memory: bytes
    pokes: int
    bytes_changed: int
    open: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Patched({self.bound!r}, {self.pokes} pokes, {self.bytes_changed} bytes changed)"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the patched ELF file, whole or not at all; ImageError, OSError."""
        self.bound.image.write(path, self.memory)


def predict(
    kernel: KernelImage,
    machine: Machine,
    *,
    spec: Spec | str | os.PathLike[str] | None = None,
    dump: Dump | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Prediction:
    """The text of a kernel once it has patched itself on a machine.

    `spec`: a loaded spec, or a path of one; without it the shipped spec for this kernel. `dump`: memory of the running
    kernel; it settles what the kernel changes as it runs, and says where KASLR has put it. `include`: folders of which
    the spec may include files, besides its own and the shipped specs. SpecError: the spec is wrong. PredictionError:
    something that the text depends on is missing, or the image's tables are damaged.
    """
    return run_passes(bind_kernel(kernel, machine, spec=spec, dump=dump, include=include))


def patch(
    kernel: KernelImage,
    machine: Machine,
    *,
    spec: Spec | str | os.PathLike[str] | None = None,
    dump: Dump | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Patched:
    """A kernel's memory with all of its sites patched, one poke each; arguments and errors as for `predict`."""
    bound = bind_kernel(kernel, machine, spec=spec, dump=dump, include=include)
    if not bound.tables:
        raise PredictionError(f"{bound.image.name}: has none of the tables that the spec describes")
    memory, pokes = bound.patched()
    names = tuple(name_of(bound.spec, question) for question in open_questions(bound.worlds))
    return Patched(bound, bytes(memory), pokes, _differing(bound.image.memory, memory), names)


def explain(
    kernel: KernelImage,
    machine: Machine,
    address: int,
    *,
    spec: Spec | str | os.PathLike[str] | None = None,
    dump: Dump | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Explanation:
    """What becomes of one address, and why; arguments and errors as for `predict`."""
    bound = bind_kernel(kernel, machine, spec=spec, dump=dump, include=include)
    root = None if isinstance(spec, Spec) else Path(spec) if spec is not None else shipped_spec(bound.image)
    lines = SpecLines(root, include) if root is not None else None
    return explain_bound(bound, address, lambda where: "" if lines is None else lines.line(where))


def compare(prediction: Prediction, first: bytes | memoryview, second: bytes | memoryview) -> list[Difference]:
    """Where two texts of the predicted kernel differ, by site; each is as long as `prediction.text`.

    PredictionError: one is not, or they differ nearly everywhere.
    """
    size = prediction.end - prediction.start
    for text in (first, second):
        if not isinstance(text, bytes | bytearray | memoryview):
            raise PredictionError(f"a text is bytes, and this one {type(text).__name__}")
        if len(text) != size:
            raise PredictionError(f"a text of {len(text)} bytes; the kernel's has {size}")
    return difference(prediction, first, second)


def bind_kernel(
    kernel: KernelImage,
    machine: Machine,
    *,
    spec: Spec | str | os.PathLike[str] | None = None,
    dump: Dump | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Bound:
    """A kernel bound to its facts, before anything is patched; arguments and errors as for `predict`."""
    if dump is not None and kernel.kernel is None:
        kernel = kernel.moved(dump.slide)
    if isinstance(spec, Spec):
        return bind(spec, kernel, machine, dump)
    bound = bind(spec_for(kernel, spec, include), kernel, machine, dump)
    return replace(bound, warnings=(*bound.warnings, *version_warnings(kernel)))


def _differing(before: bytes | bytearray, after: bytes | bytearray) -> int:
    """How many bytes differ."""
    return sum(len(mask) - mask.count(0) for _, mask in masks(before, after))
