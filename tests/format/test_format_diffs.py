"""A line more, less or changed is a line in the diff, wherever it is: `fmt` moves nothing else."""

from __future__ import annotations

import random
import re
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from pvspec.lang.diagnostics import SpecError
from pvspec.lang.format import format_text
from pvspec.lang.parse.grammar import keywords
from pvspec.lang.source import Source

from .test_format_properties import SPECS

PLACES = 6  # of each edit, in each spec
MOST = 2  # lines that fmt moves besides the one that was edited, where an edit joins two constructs to one, say
Lines = list[str]
WORD = re.compile(r"\b[A-Za-z_]\w*\b")
KEYWORDS = frozenset(keywords().values())


def without(lines: Lines, at: int, random: random.Random) -> Lines:
    return lines[:at] + lines[at + 1 :]


def twice(lines: Lines, at: int, random: random.Random) -> Lines:
    return lines[: at + 1] + lines[at:]


def longer(lines: Lines, at: int, random: random.Random) -> Lines:
    """A name is longer: as long as any that a spec has, or so long that the line must be broken."""
    names = [word for word in WORD.finditer(lines[at]) if word[0] not in KEYWORDS]
    word = random.choice(names or [*WORD.finditer(lines[at])])
    name = word[0] + "_" * random.choice((1, 12, 30, 130))
    return [*lines[:at], lines[at][: word.start()] + name + lines[at][word.end() :], *lines[at + 1 :]]


def in_a_block(lines: Lines, at: int, random: random.Random) -> Lines:
    """A block around the line, which its author did not indent."""
    indent = " " * (len(lines[at]) - len(lines[at].lstrip()))
    return [*lines[:at], f"{indent}if since 6.2 {{", lines[at], f"{indent}}}", *lines[at + 1 :]]


def moved(edited: Lines, after: Lines) -> int:
    """How many of the edited lines are not there any more as they were."""
    blocks = SequenceMatcher(None, edited, after, autojunk=False).get_matching_blocks()
    return len(edited) - sum(block.size for block in blocks)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(SPECS[0].parents[2])))
def test_an_edit_is_its_own_diff(path: Path) -> None:
    lines = format_text(Source(path.name, path.read_text(encoding="utf-8"))).splitlines()
    chosen = random.Random(path.name)
    code = [number for number, line in enumerate(lines) if WORD.search(line.partition("#")[0])]
    tried = 0
    for edit in (without, twice, longer, in_a_block):
        for at in chosen.sample(code, min(PLACES, len(code))):
            if edit is in_a_block and lines[at].lstrip().startswith("}"):
                continue  # the block would end another one
            edited = edit(lines, at, chosen)
            try:
                after = format_text(Source(path.name, "\n".join(edited)))
            except SpecError:  # half of a construct is gone, or a block cannot be there
                continue
            tried += 1
            assert moved(edited, after.splitlines()) <= MOST, f"{edit.__name__}, line {at + 1}: {lines[at]}"
    assert tried
