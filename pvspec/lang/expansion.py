"""What one kernel gets of a spec for several, as a reviewer reads it: the text, without what is not for this kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Findings, SpecError, Work
from pvspec.lang.files import Files, ForKernel, read_spec
from pvspec.lang.format import format_text
from pvspec.lang.parse import Chosen, Cut
from pvspec.lang.source import Source
from pvspec.lang.target import Target, wanted
from pvspec.support.paths import resource


class ExpandedFile(Value):
    """A file of a spec, by its path from the spec's folder, and what is left of its text for one kernel."""

    path: str
    text: str


def expand_spec(
    path: str | os.PathLike[str] | None = None,
    *,
    kernel: str | None = None,
    machine: str | None = None,
    config: Mapping[str, bool] | None = None,
    in_one: bool = False,
    include: Iterable[str | os.PathLike[str]] = (),
) -> list[ExpandedFile]:
    """The files of a spec for one of its kernels, in canonical layout, those of which nothing is left omitted.

    `path`: a file or a folder; without it the shipped spec of Linux 5.10 and later. `kernel` and `machine`: which one,
    as "6.1" and "x86_64"; TargetError if none is meant, or several may be. `config`: its configuration by names without
    CONFIG_; what it lacks is not set, and without it `config` stays a question. `in_one`: without the lines that
    include files, so that all texts are one spec, one after the other. `include`: folders of which the spec may include
    files, besides its own and the shipped specs. SpecError if it cannot be read.
    """
    findings = Findings()
    path = resource("specs", "linux") if path is None else Path(path)
    files = read_spec(path, findings, include)
    if findings.found:
        raise SpecError(findings.found)
    target = wanted(kernel, machine).the_one(files.targets, str(path))
    read = files.for_kernel(target, findings)
    if findings.found:
        raise SpecError(findings.found)
    return list(_expanded(files, read, target, config, in_one))


def _expanded(
    files: Files, read: ForKernel, target: Target, config: Mapping[str, bool] | None, in_one: bool
) -> Iterator[ExpandedFile]:
    has = {item.name.text for item in read.items if isinstance(item, ast.Decide)}
    elsewhere = {item.name.text for item in read.items if isinstance(item, ast.Elsewhere)} - has
    kept = set[Source]()
    for file in read.files:
        included = () if in_one else file.outline().includes
        includes = dict(_moved(files, [item for item in included if files.included(item) in kept], file.source))
        chosen = Chosen(target, config, elsewhere, includes)
        text = without(file.source.text, file.cuts(chosen))
        if re.sub(r"#[^\n]*", "", text).strip():
            kept.add(file.source)
            laid_out = format_text(Source(file.source.name, text, file.source.label), Work())
            yield ExpandedFile(_inside(file.source), laid_out)


def _moved(files: Files, includes: Iterable[ast.Include], source: Source) -> Iterator[tuple[str, str]]:
    """The paths of included files, as written and from where this one is written to."""
    for item in includes:
        included = files.included(item)
        if included is not None:
            yield item.path.value, os.path.relpath(_inside(included), os.path.dirname(_inside(source)) or ".")


def _inside(source: Source) -> str:
    """Where a file is written to, from the folder for all: of one outside of the spec's folder, one that is inside."""
    return "/".join("up" if part == ".." else part for part in source.label.split("/"))


# ---- the text ----------------------------------------------------------------------------------------------


class _Line:
    """A line of the text as far as it is left; `is_gone`: nothing is, and it was cut, not only unwrapped."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_touched = False
        self.is_cut = False

    @property
    def is_gone(self) -> bool:
        return self.is_cut and self.text.strip()[:1] in ("", "#")

    @property
    def is_left(self) -> bool:
        return not self.is_gone and not (self.is_touched and not self.text.strip())

    @property
    def is_comment(self) -> bool:
        return not self.is_gone and self.text.lstrip().startswith("#")


def without(text: str, cuts: Iterable[Cut]) -> str:
    """A text without its cuts, and without the comments on what is cut: at the ends of its lines, and right above."""
    lines = _lines(text, cuts)
    for index, line in enumerate(lines):
        if line.is_comment and not (index and lines[index - 1].is_comment):
            _drop_comments_of_nothing(lines, index)
    return "".join(f"{line.text}\n" for line in lines if line.is_left)


def _drop_comments_of_nothing(lines: Sequence[_Line], start: int) -> None:
    """Comments on lines that are all gone, up to an empty line, another comment or the block's end, go, too."""
    end = next((index for index in range(start, len(lines)) if not lines[index].is_comment), len(lines))
    described = []
    for line in islice(lines, end, None):
        if not line.is_gone and (line.is_comment or line.text.strip() == "}" or not (line.text or line.is_touched)):
            break
        if line.is_left or line.is_gone:
            described.append(line)
    if described and all(line.is_gone for line in described):
        for line in lines[start:end]:
            line.is_cut = True


def _lines(text: str, cuts: Iterable[Cut]) -> list[_Line]:
    """The lines of a text; a line end inside a cut stays one, so that each is the line that it was."""
    lines, at = [_Line("")], 0
    for cut in sorted(cuts, key=lambda cut: (cut.start, -cut.end)):
        if cut.end <= at:  # inside of the last one
            continue
        _append(lines, text[at : cut.start])
        first = len(lines) - 1
        if not cut.text and lines[first].text.strip():
            follows = text[cut.end : cut.end + 1]
            lines[first].text = lines[first].text.rstrip(" ") + (" " if re.match(r"[^\s),]", follows) else "")
        _append(lines, cut.text + "\n" * text.count("\n", cut.start, cut.end))
        for line in lines[first:]:
            line.is_touched = True
            line.is_cut |= not cut.unwraps and not cut.text
        at = cut.end
    _append(lines, text[at:].rstrip("\n"))
    return lines


def _append(lines: list[_Line], text: str) -> None:
    first, *others = text.split("\n")
    lines[-1].text += first
    lines += map(_Line, others)
