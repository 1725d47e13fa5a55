"""Spec files and what they include."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, Findings, Label, SpecError
from pvspec.lang.parse import parse
from pvspec.lang.source import Source, Span

MAX_BYTES = 16 << 20
MAX_DEPTH = 64  # files that include one another in a row
SUFFIX = ".pvs"


@dataclass
class Files:
    """The items of a spec's files, each file once, an included one before the file that includes it."""

    root: Path
    findings: Findings
    items: list[ast.Item] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    _done: set[Path] = field(default_factory=set)

    def read(self, path: Path, path_in: Span | None = None, chain: Sequence[Path] = ()) -> None:
        """Read one file and its includes; what is wrong is a finding."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL in the name
            real = path
        if real in chain:
            self._cycle(real, chain, path_in)
        elif len(chain) > MAX_DEPTH and path_in is not None:
            self.findings.add("PV003", f"files that include files, more than {MAX_DEPTH} deep", (path_in, "this one"))
        elif real not in self._done:
            self._done.add(real)
            label = Path(os.path.relpath(path, self.root)).as_posix()
            source = read_source(path, label, self.findings, path_in)
            if source is not None:
                self._parse(source, path, (*chain, real))

    def _parse(self, source: Source, path: Path, chain: tuple[Path, ...]) -> None:
        self.sources.append(source)
        try:
            items = parse(source).items
        except SpecError as error:
            self.findings.found += error.diagnostics
            return
        for item in items:
            if isinstance(item, ast.Include):
                included = Path(os.path.normpath(path.parent / item.path.value))
                self.read(included, item.path.span, chain)
            else:
                self.items.append(item)

    def _cycle(self, real: Path, chain: Sequence[Path], path_in: Span | None) -> None:
        names = [step.name for step in chain[chain.index(real) :]] + [real.name]
        labels = (Label(path_in, " -> ".join(names)),) if path_in else ()
        self.findings.found.append(Diagnostic("PV004", "an include that leads back to itself", labels))


def read_source(path: Path, label: str, findings: Findings, path_in: Span | None = None) -> Source | None:
    """The text of a file; None, and a finding, if it cannot be read. `path_in`: where it is included."""
    try:
        if not path.is_file():
            raise ValueError("no such file" if not path.exists() else "not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES} bytes")
        return Source(str(path), path.read_text(encoding="utf-8-sig"), label)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        labels = ((path_in, "included here"),) if path_in else ()
        findings.add("PV001", f"{_shortened(path)} cannot be read: {why}", *labels)
        return None


def read_spec(path: Path, findings: Findings) -> Files:
    """All items of a spec: one file, or a directory's files; with what they include."""
    files = Files(path if os.path.isdir(path) else path.parent, findings)
    found = list(spec_files(path))
    if not found:
        inner = sorted({file.parent.name for file in path.glob(f"*/*{SUFFIX}")})
        hint = f"; its folders do: {', '.join(inner)}" if inner else ""
        findings.add("PV001", f"{path} holds no {SUFFIX} file{hint}")
    for file in found:
        files.read(file)
    return files


def spec_files(path: Path) -> Iterator[Path]:
    """The spec files that a path on the command line means: itself, or those in a directory."""
    if os.path.isdir(path):
        yield from sorted(path.glob(f"*{SUFFIX}"))
    else:
        yield path


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-50:]}"
