"""Runs the `test` blocks of a spec against the value that it compiles to.

`binding` is what a case binds, `site` the record and memory it describes,
`expected` what it expects, computed without the engine; `run` compares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pvspec.lang.diagnostics import Diagnostic, SpecError
from pvspec.lang.source import Span
from pvspec.lang.target import Target
from pvspec.spectest.run import Result, run_cases

__all__ = ["Result", "run_cases", "run_tests"]


def run_tests(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> list[Result]:
    """Run every case of a spec's `test` blocks, for each kernel that it describes.

    A failure that is the same for several kernels has its findings once, for the first one. `kernel` and `machine`, as
    "6.1" and "x86_64", choose some of the kernels; TargetError if there are none. `include`: folders of which the spec
    may include files, besides its own and the shipped specs. SpecError if it is invalid, or lacks tests.
    """
    from pvspec.compiler.lower import lower
    from pvspec.compiler.pipeline import check_spec

    checked = check_spec(path, kernel=kernel, machine=machine, include=include)
    results = [
        result
        for target, program in checked.all_sound().items()
        for result in run_cases(program.spec, lower(program).spec, target)
    ]
    if not results:
        raise SpecError([Diagnostic("PV502", f"{path}: the spec lacks a `test` block")])
    failed = dict[Span, dict[Target, tuple[Diagnostic, ...]]]()
    for result in results:
        failed.setdefault(result.span, {})[result.target] = result.diagnostics
    told = {span: checked.merged(found) for span, found in failed.items() if any(found.values())}
    return [r.changed(diagnostics=told[r.span][r.target]) if r.span in told else r for r in results]
