"""The whole pipeline: files, items, model, program, module text; for each kernel that a spec describes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from pvspec.compiler.assemble import Program, assemble_spec
from pvspec.compiler.sound import verify
from pvspec.engine.value import Value
from pvspec.lang.check import check
from pvspec.lang.diagnostics import Diagnostic, Findings, SpecError, TooMuchWork, count, reported
from pvspec.lang.files import ForKernel, read_spec, spec_files
from pvspec.lang.merged import Parts, for_none, merged
from pvspec.lang.target import ANY, Target, Wanted, point_releases, several, wanted

Choice: TypeAlias = Callable[[Sequence[Target], str], Sequence[Target]]
"""Some of a spec's kernels, by all of them and what a message calls the spec; TargetError."""

_AGAIN = 8  # of the work that reading a spec is, one part in so many is done again for each further kernel
_MAX_OLDER = 64
"""Older point releases of its kernels that a spec may tell apart; a part that is only for further ones is warned of as
for none (PV704)."""


class Checked(Value):
    """The result of checking a spec: a program for each kernel, as far as there is one, and all findings by place.

    `programs`: those of the kernels that were asked for; none if the spec could not be read. `parts`: which places of
    it are for which of them. Warnings are only for the files that were asked for: what an included file declares may be
    for others.
    """

    path: str
    programs: Mapping[Target, Program | None]
    parts: Mapping[Target, Parts]
    diagnostics: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Errors and warnings, sorted by position."""
        return tuple(sorted((*self.diagnostics, *self.warnings), key=Diagnostic.sort_key))

    @property
    def program(self) -> Program | None:
        """The program of the one kernel that was asked for, as far as there is one; TargetError if several were."""
        if len(self.programs) > 1:
            raise several(tuple(self.programs), self.path)
        return next(iter(self.programs.values()), None)

    def sound(self) -> Program:
        """The program; SpecError if there are errors, TargetError if several kernels were asked for."""
        if self.diagnostics or self.program is None:
            raise SpecError(self.diagnostics)
        return self.program

    def all_sound(self) -> dict[Target, Program]:
        """The programs of all kernels that were asked for; SpecError if there are errors."""
        programs = {target: program for target, program in self.programs.items() if program is not None}
        if self.diagnostics or not programs:
            raise SpecError(self.diagnostics)
        return programs

    def merged(self, found: Mapping[Target, Sequence[Diagnostic]]) -> dict[Target, tuple[Diagnostic, ...]]:
        """Findings of a later stage by kernel: each once, for the first that has it."""
        return merged(found, self.parts)


def check_spec(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Checked:
    """Read, check, assemble and verify a spec for each kernel that it describes.

    `kernel` and `machine`, as "6.1" and "x86_64", choose some of them; TargetError if there are none. `include`:
    folders of which the spec may include files, besides its own and the shipped specs. Each stage continues with what
    is valid so far; only a file that cannot be read stops it early: everything that refers to it would seem to be an
    error; and a spec that asks for too much work.
    """
    return check_for(Path(path), wanted(kernel, machine).chosen, include)


def check_the_one(path: Path, meant: Wanted, include: Iterable[str | os.PathLike[str]] = ()) -> Checked:
    """The same for the one kernel that is meant; TargetError if none is, or several may be."""
    return check_for(path, lambda targets, spec: [meant.the_one(targets, spec)], include)


def check_for(path: Path, choice: Choice, include: Iterable[str | os.PathLike[str]] = ()) -> Checked:
    """The same for those of a spec's kernels that are chosen."""
    read, files = Findings(), None
    try:
        files = read_spec(path, read, include)
    except TooMuchWork as error:
        read.found += error.diagnostics
    if files is None or files.is_incomplete or not files.targets:  # kernels of machines that are unknown are none
        return Checked(str(path), {}, {}, *_parted(read.found, path))
    chosen = files.targets if files.targets == (ANY,) else choice(files.targets, str(path))
    programs, reads, found = dict[Target, Program | None](), dict[Target, ForKernel](), dict[Target, list[Diagnostic]]()
    again = read.work.units // _AGAIN
    for target in chosen:
        findings = Findings(work=read.work)
        try:
            if reads:
                read.work.add(again, f"{count(len(reads) + 1, 'kernel')} of {path}")
            reads[target] = files.for_kernel(target, findings)
            programs[target] = _program(reads[target], target, findings)
        except TooMuchWork as error:  # so it would be for the others
            return Checked(str(path), {}, {}, *_parted([*read.found, *error.diagnostics], path))
        found[target] = files.without_consequences(findings.found)
    is_all = len(chosen) == len(files.targets)
    parts = {target: Parts(read.built) for target, read in reads.items()}
    told = [diagnostic for rest in merged(found, parts, is_all).values() for diagnostic in rest]
    none = _for_none(reads) if is_all else ()
    return Checked(str(path), programs, parts, *_parted([*read.found, *told, *none], path))


def _for_none(reads: Mapping[Target, ForKernel]) -> list[Diagnostic]:
    """Warnings for what is for none of a spec's kernels, nor for an older point release of one."""
    parts = [Parts(read.built) for read in reads.values()]
    sources = {label.span.source for warning in for_none(parts) for label in warning.labels}
    files = {file.source: file for read in reads.values() for file in read.files if file.source in sources}
    asked = {version.numbers for read in reads.values() for file in read.built for version in file.versions}
    older = [release for target in reads for release in point_releases(target, asked)] if files else []
    for release in older[:_MAX_OLDER]:
        parts.append(Parts([file.built(release) for file in files.values()]))
    return list(for_none(parts))


def _program(read: ForKernel, target: Target, findings: Findings) -> Program | None:
    spec = check(read.items, read.sources, findings, target)
    if spec is None:
        return None
    program = assemble_spec(spec, findings)
    verify(program, findings)
    return program


def _parted(found: Iterable[Diagnostic], path: Path) -> tuple[tuple[Diagnostic, ...], tuple[Diagnostic, ...]]:
    """Errors, and warnings for the files that were asked for."""
    found = reported(found)
    errors = tuple(diagnostic for diagnostic in found if diagnostic.severity == "error")
    warnings = [diagnostic for diagnostic in found if diagnostic.severity == "warning"]
    asked = {os.path.realpath(file) for file in spec_files(path)} if warnings else set()
    return errors, tuple(w for w in warnings if os.path.realpath(w.labels[0].span.source.name) in asked)


def compile_spec(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> str:
    """The text of a spec's printed module; SpecError if the spec is invalid. Arguments as for `check_spec`.

    TargetError if none of its kernels is meant, or several may be.
    """
    from pvspec.compiler.printout import render

    return render(check_the_one(Path(path), wanted(kernel, machine), include).sound())


def load(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> ModuleType:
    """Compile a spec (a file or a directory) and import its printed module; arguments as for `compile_spec`."""
    text = compile_spec(path, kernel=kernel, machine=machine, include=include)
    return import_text(text, f"pvspec.generated.{Path(path).stem}")


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
