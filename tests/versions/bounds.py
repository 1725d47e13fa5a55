"""What pyproject.toml asks for: each requirement with its lower bound."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python that pvspec is tried with, the oldest first."""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)>=(?P<bound>\d+(?:\.\d+)*)(?P<marker>; .+)?")


class Requirement(NamedTuple):
    """A library, the oldest version that will do, and for which Python that is so (`; …`, or nothing for all)."""

    name: str
    bound: str
    marker: str

    @property
    def oldest(self) -> str:
        """What pip is asked for to get the oldest version."""
        return f"{self.name}=={self.bound}{self.marker}"

    @property
    def newest(self) -> str:
        """What pip is asked for to get the newest version."""
        return f"{self.name}>={self.bound}{self.marker}"


def requirements() -> list[Requirement]:
    """Of the library, of its tests, and of what builds it; ValueError for one that is not `NAME>=VERSION`."""
    pyproject = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    return [parsed(text) for text in [*project["dependencies"], *extras, *pyproject["build-system"]["requires"]]]


def parsed(text: str) -> Requirement:
    """A requirement as pyproject.toml has it; ValueError if it is not `NAME>=VERSION`."""
    found = _REQUIREMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"pyproject.toml: {text!r} does not have the form NAME>=VERSION, or NAME>=VERSION; MARKER")
    return Requirement(found["name"], found["bound"], found["marker"] or "")
