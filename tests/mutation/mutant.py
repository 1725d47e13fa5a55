"""What a mutant is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent


class Mutant(NamedTuple):
    """A change of one file: `name` says which, by function and not by line; `text` is the whole file, changed."""

    name: str
    file: str
    text: str
