"""The whole pipeline: files, items, model, program, module text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from pvspec.compiler.assemble import Program, assemble_spec
from pvspec.compiler.sound import verify
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.check import check
from pvspec.lang.diagnostics import Diagnostic, Findings, SpecError, TooMuchWork, Work, reported
from pvspec.lang.files import read_spec, spec_files


class Checked(Value):
    """The result of checking a spec: a program, as far as there is one, and all findings, sorted by position.

    Warnings are only for the files that were asked for: what an included file declares may be for others.
    """

    program: Program | None
    diagnostics: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Errors and warnings, sorted by position."""
        return tuple(sorted((*self.diagnostics, *self.warnings), key=Diagnostic.sort_key))

    def sound(self) -> Program:
        """The program; SpecError if there are errors."""
        if self.diagnostics or self.program is None:
            raise SpecError(self.diagnostics)
        return self.program


def check_spec(path: str | os.PathLike[str], *, include: Iterable[str | os.PathLike[str]] = ()) -> Checked:
    """Read, check, assemble and verify; each stage continues with what is valid so far.

    `include`: folders of which the spec may include files, besides its own and the shipped specs. Only a file that
    cannot be read stops it early: everything that refers to it would seem to be an error; and a spec that asks for too
    much work.
    """
    work = Work()
    findings, read = Findings(work=work), Findings(work=work)
    files, program = None, None
    try:
        files = read_spec(Path(path), read, include)
        spec = check(files.items, files.sources, findings) if not files.is_incomplete else None
        program = _assembled(spec, findings) if spec is not None else None
    except TooMuchWork as error:
        read.found += error.diagnostics
        program = None
    later = files.without_consequences(findings.found) if files is not None else findings.found
    found = reported([*read.found, *later])
    return Checked(program, tuple(d for d in found if d.severity == "error"), tuple(_warnings(found, Path(path))))


def _warnings(found: Iterable[Diagnostic], path: Path) -> Iterator[Diagnostic]:
    warnings = [diagnostic for diagnostic in found if diagnostic.severity == "warning"]
    asked = {os.path.realpath(file) for file in spec_files(path)} if warnings else set()
    for warning in warnings:
        if os.path.realpath(warning.labels[0].span.source.name) in asked:
            yield warning


def _assembled(spec: model.Spec, findings: Findings) -> Program:
    program = assemble_spec(spec, findings)
    verify(program, findings)
    return program


def compile_spec(path: str | os.PathLike[str], *, include: Iterable[str | os.PathLike[str]] = ()) -> str:
    """The text of a spec's printed module; SpecError if the spec is invalid. `include`: as for `check_spec`."""
    from pvspec.compiler.printout import render

    return render(check_spec(path, include=include).sound())


def load(path: str | os.PathLike[str], *, include: Iterable[str | os.PathLike[str]] = ()) -> ModuleType:
    """Compile a spec (a file or a directory) and import its printed module; arguments as for `compile_spec`."""
    return import_text(compile_spec(path, include=include), f"pvspec.generated.{Path(path).stem}")


def import_text(text: str, name: str) -> ModuleType:
    """A printed module, made from its text."""
    module = ModuleType(name)
    sys.modules[name] = module  # dataclasses look up their module there
    try:
        exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
