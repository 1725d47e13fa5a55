"""Spec files and what they include."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, Findings, Label, SpecError
from pvspec.lang.parse import parse_what_can_be
from pvspec.lang.source import Source, Span

MAX_BYTES = 16 << 20
MAX_DEPTH = 64  # the longest chain of includes
SUFFIX = ".pvs"
_OF_THE_WHOLE = "PV302"  # codes that can be reported only if all of the spec was read
_OF_WHAT_IS_MISSING = frozenset(["PV101", "PV104", "PV303", "PV401"])
_QUOTED = re.compile(r"`([^`]*)`")


@dataclass
class Files:
    """The items of a spec's files, each file once, included files before the files that include them.

    `is_incomplete`: the declarations of some files are unknown. `left_out`: the words in the parts that do not follow
    the grammar.
    """

    root: Path
    findings: Findings
    items: list[ast.Item] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    is_incomplete: bool = False
    _done: set[Path] = field(default_factory=set)

    def read(self, path: Path, path_in: Span | None = None, chain: Sequence[Path] = ()) -> None:
        """Read one file and its includes; what is wrong is a finding."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL in the name
            real = path
        if real in chain:
            self._cycle(real, chain, path_in)
            self.is_incomplete = True
        elif len(chain) > MAX_DEPTH and path_in is not None:
            self.findings.add("PV003", f"files that include files, more than {MAX_DEPTH} deep", (path_in, "this one"))
            self.is_incomplete = True
        elif real not in self._done:
            self._done.add(real)
            label = Path(os.path.relpath(path, self.root)).as_posix()
            source = read_source(path, label, self.findings, path_in)
            if source is not None:
                self._parse(source, path, (*chain, real))
            else:
                self.is_incomplete = True

    def without_consequences(self, found: Sequence[Diagnostic]) -> list[Diagnostic]:
        """The findings, without those that may be due to a part that does not follow the grammar."""
        if not self.left_out:
            return list(found)
        missing = [finding for finding in found if self._may_be_left_out(finding)]
        # other findings in the same lines may have the same cause: an arm whose guard is unknown has no guard
        lines = {(label.span.source, label.span.line) for finding in missing for label in finding.labels}
        return [
            finding
            for finding in found
            if finding.code != _OF_THE_WHOLE
            and not self._may_be_left_out(finding)
            and lines.isdisjoint((label.span.source, label.span.line) for label in finding.labels)
        ]

    def _may_be_left_out(self, finding: Diagnostic) -> bool:
        if finding.code not in _OF_WHAT_IS_MISSING:
            return False
        words = " ".join(_QUOTED.findall(finding.message)).split()
        return not self.left_out.isdisjoint(words) or any(self._made_by_each.fullmatch(word) for word in words)

    @cached_property
    def _made_by_each(self) -> re.Pattern[str]:
        """What names with a variable of `each` in them can become; a variable alone is ignored."""
        parts = [re.split(r"\$[A-Za-z0-9_]+", word) for word in self.left_out if "$" in word.strip("$")]
        names = [r"\w+".join(map(re.escape, split)) for split in sorted(parts) if any(split)]
        return re.compile("|".join(names) or r"(?!)")

    def _parse(self, source: Source, path: Path, chain: tuple[Path, ...]) -> None:
        self.sources.append(source)
        try:
            parsed = parse_what_can_be(source)
        except SpecError as error:
            self.findings.found += error.diagnostics
            self.is_incomplete = True
            return
        self.findings.found += parsed.diagnostics
        self.left_out |= parsed.words
        self.is_incomplete |= parsed.lost_include
        for item in parsed.items:
            if isinstance(item, ast.Include):
                included = Path(os.path.normpath(path.parent / item.path.value))
                self.read(included, item.path.span, chain)
            else:
                self.items.append(item)

    def _cycle(self, real: Path, chain: Sequence[Path], path_in: Span | None) -> None:
        names = [step.name for step in chain[chain.index(real) :]] + [real.name]
        labels = (Label(path_in, " -> ".join(names)),) if path_in else ()
        self.findings.found.append(Diagnostic("PV004", "an include cycle", labels))


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
    """All items of a spec, which is a file or a directory; with those of included files."""
    files = Files(path if os.path.isdir(path) else path.parent, findings)
    found = list(spec_files(path))
    if not found:
        inner = sorted({file.parent.name for file in path.glob(f"*/*{SUFFIX}")})
        hint = f"; its folders do: {', '.join(inner)}" if inner else ""
        findings.add("PV001", f"{path} contains no {SUFFIX} file{hint}")
        files.is_incomplete = True
    for file in found:
        files.read(file)
    return files


def spec_files(path: Path) -> Iterator[Path]:
    """The spec files of a path on the command line: the path itself, or the files in a directory."""
    if os.path.isdir(path):
        yield from sorted(path.glob(f"*{SUFFIX}"))
    else:
        yield path


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-50:]}"
