"""Spec files and what they include."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.allowed import SUFFIX, Allowed, Outside, folder_of, open_named
from pvspec.lang.diagnostics import Diagnostic, Findings, Label, SpecError, TooMuchWork
from pvspec.lang.parse import Built, Parsed, parse_what_can_be
from pvspec.lang.source import Source, Span
from pvspec.lang.target import Target, check_machine, check_version, declared_targets

MAX_BYTES = 16 << 20
"""Bytes of one file of a spec; a longer one is not read (PV001)."""
MAX_DEPTH = 64
"""Files that include each other in a row; what is included deeper is refused (PV003)."""
_OF_THE_WHOLE = "PV302"  # codes that can be reported only if all of the spec was read
_OF_WHAT_IS_MISSING = frozenset(["PV101", "PV104", "PV303", "PV401"])
_QUOTED = re.compile(r"`([^`]*)`")


class ForKernel(Value):
    """What a spec says of one kernel: its items, included files before the files that include them.

    `built`: what each file says of it, in the order in which they were read; `files`: these, in the order of the items.
    """

    items: tuple[ast.Item, ...]
    built: tuple[Built, ...]
    files: tuple[Parsed, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files that are for this kernel."""
        return tuple(file.source for file in self.built)


@dataclass
class Files:
    """A spec's files, each read once.

    `targets`: the kernels that it describes. `is_incomplete`: the declarations of some files are unknown. `left_out`:
    the words in the parts that do not follow the grammar.
    """

    spec: Path
    allowed: Allowed
    findings: Findings
    targets: tuple[Target, ...] = ()
    left_out: set[str] = field(default_factory=set)
    is_incomplete: bool = False
    _parsed: dict[str, Parsed | None] = field(default_factory=dict)  # by path without links; None: not readable
    _roots: list[str] = field(default_factory=list)
    _leads: dict[Span, str] = field(default_factory=dict)  # where an `include` leads
    _kernels: list[ast.Kernels] = field(default_factory=list)
    _machines: list[ast.Name] = field(default_factory=list)

    def read(self, path: Path, real: str, path_in: Span | None = None, chain: Sequence[str] = ()) -> None:
        """Read one file and its includes; what is wrong is a finding. `real`: its absolute path.

        `chain`: the files that include it, by their paths without links.
        """
        self.findings.work.add(_FILE, "the files that it includes", path_in)
        if len(chain) > MAX_DEPTH and path_in is not None:
            self.findings.add("PV003", f"files that include files, more than {MAX_DEPTH} deep", (path_in, "this one"))
            self.is_incomplete = True
            return
        opened = self.opened(path, real, path_in)
        self.is_incomplete |= opened is None
        if opened is None:
            return
        file, found = opened
        with file:
            if found in chain:
                self._cycle(found, chain, path_in)
                self.is_incomplete = True
                return
            if path_in is None:
                self._roots.append(found)
            else:
                self._leads[path_in] = found
            if found not in self._parsed:
                self._parsed[found] = None
                label = Path(os.path.relpath(path, folder_of(self.spec))).as_posix()
                source = read_source(file, path, label, self.findings, path_in)
                self.is_incomplete |= source is None
                if source is not None:
                    self._parse(source, path, real, (*chain, found))

    def declare(self) -> None:
        """Find out which kernels the files that were read are for."""
        self.targets = declared_targets(self._kernels, self._machines, self.findings)

    def for_kernel(self, target: Target, findings: Findings) -> ForKernel:
        """What the files say of one of the kernels; what is wrong with their conditions is a finding."""
        items, built, files = list[ast.Item](), dict[str, Built](), list[Parsed]()
        for real in self._roots:
            self._add(real, target, items, built, files)
        machines = list(dict.fromkeys(name.text for name in self._machines))
        for file in built.values():
            findings.found += file.diagnostics
            for name in file.machines:
                check_machine(name, machines, findings)
            for version in file.versions:
                check_version(version, self.targets, findings)
        return ForKernel(tuple(items), tuple(built.values()), tuple(files))

    def included(self, include: ast.Include) -> Source | None:
        """The file that is included, if it could be read."""
        parsed = self._parsed.get(self._leads.get(include.path.span, ""))
        return None if parsed is None else parsed.source

    def _add(
        self, real: str, target: Target, items: list[ast.Item], built: dict[str, Built], files: list[Parsed]
    ) -> None:
        """Add the items of a file that is not among those `built` before, and of the files that it includes."""
        parsed = self._parsed[real]
        if real in built or parsed is None:
            return
        built[real] = parsed.built(target)
        for item in built[real].items:
            if not isinstance(item, ast.Include):
                items.append(item)
            elif item.path.span in self._leads:
                self._add(self._leads[item.path.span], target, items, built, files)
        files.append(parsed)

    def opened(self, path: Path, real: str, path_in: Span | None = None) -> tuple[BinaryIO, str] | None:
        """One file, open, and its path without links; None, with a finding, if it cannot or may not be read."""
        try:
            return open_named(path) if path == self.spec else self.allowed.open(real)
        except Outside:
            place = [(path_in, "not read")] if path_in is not None else []
            help = "if it may be read, name its folder with `--include`"
            self.findings.add("PV005", f"{shortened(path)} is outside of the spec's folder", *place, help=help)
        except (OSError, ValueError) as error:
            unreadable(path, error, self.findings, path_in)
        return None

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

    def _parse(self, source: Source, path: Path, real: str, chain: tuple[str, ...]) -> None:
        try:
            parsed = parse_what_can_be(source, self.findings.work)
        except TooMuchWork:
            raise
        except SpecError as error:
            self.findings.found += error.diagnostics
            self.is_incomplete = True
            return
        self._parsed[chain[-1]] = parsed
        self.findings.found += parsed.diagnostics
        self.left_out |= parsed.words
        self.is_incomplete |= parsed.lost_include
        outline = parsed.outline()
        self._kernels += outline.kernels
        self._machines += outline.machines
        for item in outline.includes:
            included = Path(os.path.normpath(path.parent / item.path.value))
            where = os.path.normpath(os.path.join(os.path.dirname(real), item.path.value))
            self.read(included, where, item.path.span, chain)

    def _cycle(self, real: str, chain: Sequence[str], path_in: Span | None) -> None:
        names = [os.path.basename(step) for step in (*chain[chain.index(real) :], real)]
        labels = (Label(path_in, " -> ".join(names)),) if path_in else ()
        self.findings.found.append(Diagnostic("PV004", "an include cycle", labels))


def read_source(
    file: BinaryIO, path: Path, label: str, findings: Findings, path_in: Span | None = None
) -> Source | None:
    """The text of an open file; None, with a finding, if it is none."""
    try:
        data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"longer than {MAX_BYTES} bytes")
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        unreadable(path, error, findings, path_in)
        return None
    at = text.find("\r")
    if at >= 0 and "\n" not in text:  # a file whose line ends are all like this
        text = text.replace("\r", "\n")
    source = Source(str(path), text.replace("\r", "\n"), label)
    if "\r" in text:
        place = (Span(source, at, at + 1), "the line ends here only for some programs")
        help = "write all line ends of the file alike"
        findings.add("PV006", "a carriage return that is not part of a line end", place, help=help)
    return source


def unreadable(path: Path, error: OSError | ValueError, findings: Findings, path_in: Span | None = None) -> None:
    """The finding for a file that cannot be read."""
    why = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or str(error)
    labels = ((path_in, "included here"),) if path_in else ()
    findings.add("PV001", f"{shortened(path)} cannot be read: {why}", *labels)


def read_spec(path: Path, findings: Findings, include: Iterable[str | os.PathLike[str]] = ()) -> Files:
    """The files of a spec, which is a file or a directory, with those that they include.

    It may include files of its folder, of the shipped specs, and of the folders in `include`.
    """
    files = Files(path, Allowed.of(path, include), findings)
    found = list(spec_files(path))
    if not found:
        inner = sorted({file.parent.name for file in path.glob(f"*/*{SUFFIX}")})
        hint = f"; its folders do: {', '.join(inner)}" if inner else ""
        findings.add("PV001", f"{path} contains no {SUFFIX} file{hint}")
        files.is_incomplete = True
    for file in found:
        files.read(file, os.path.join(os.path.realpath(folder_of(path)), file.name))
    files.declare()
    return files


def read_texts(path: Path, findings: Findings, include: Iterable[str | os.PathLike[str]] = ()) -> Iterator[Source]:
    """The files of a spec as texts, without those that they include."""
    files = Files(path, Allowed.of(path, include), findings)
    found = list(spec_files(path))
    if not found:
        findings.add("PV001", f"{path} contains no spec")
    for file in found:
        opened = files.opened(file, os.path.join(os.path.realpath(folder_of(path)), file.name))
        if opened is not None:
            with opened[0]:
                source = read_source(opened[0], file, file.name, findings)
            if source is not None:
                yield source


class SpecLines:
    """The lines of a spec's files, to be shown; only of what the spec may read."""

    def __init__(self, spec: Path, include: Iterable[str | os.PathLike[str]] = ()) -> None:
        self.folder = os.path.realpath(folder_of(spec))
        self.files = Files(spec, Allowed.of(spec, include), Findings())
        self.known: dict[str, Source | None] = {}

    def line(self, where: str) -> str:
        """What a file says at a place, FILE:LINE; empty if it cannot be read, or has changed meanwhile."""
        name, _, number = where.rpartition(":")
        at = int(number) if number.isdecimal() else 0
        if name not in self.known:
            self.known[name] = self._source(name)
        source = self.known[name]
        lines = source.text.count("\n") + 1 if source is not None else 0
        return " ".join(source.line(at, most=_SHOWN).split()) if source is not None and 0 < at <= lines else ""

    def _source(self, name: str) -> Source | None:
        path = folder_of(self.files.spec) / name
        opened = self.files.opened(path, os.path.normpath(os.path.join(self.folder, name)))
        if opened is None:
            return None
        with opened[0]:
            return read_source(opened[0], path, name, self.files.findings)


def spec_files(path: Path) -> Iterator[Path]:
    """The spec files of a path on the command line: the path itself, or the files in a directory."""
    if os.path.isdir(path):
        yield from sorted(path.glob(f"*{SUFFIX}"))
    else:
        yield path


def shortened(path: Path) -> str:
    """A path as a message names it."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}…{text[-50:]}"


_SHOWN = 1000  # columns of a line
_FILE = 300  # units of work that finding a file costs
