"""Runs the `test` blocks of a spec against the value that it compiles to.

`binding` is what a case binds, `site` the record and memory it describes,
`expected` what it expects, computed without the engine; `run` compares.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pvspec.spectest.run import Result, run_cases

__all__ = ["Result", "run_cases", "run_tests"]


def run_tests(path: str | os.PathLike[str], *, include: Iterable[str | os.PathLike[str]] = ()) -> list[Result]:
    """Run every case of a spec's `test` blocks; SpecError if the spec is invalid, or lacks tests.

    `include`: folders of which it may include files, besides its own and the shipped specs.
    """
    from pvspec.compiler.lower import lower
    from pvspec.compiler.pipeline import check_spec
    from pvspec.lang.diagnostics import Diagnostic, SpecError

    program = check_spec(Path(path), include=include).sound()
    results = list(run_cases(program.spec, lower(program).spec))
    if not results:
        raise SpecError([Diagnostic("PV502", f"{path}: the spec lacks a `test` block")])
    return results
