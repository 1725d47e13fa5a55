"""Every point release that the shipped spec tells apart is read well, not only the newest of its series."""

from __future__ import annotations

from functools import cache

import pytest

from pvspec import Target, check_spec
from pvspec.lang.diagnostics import Findings
from pvspec.lang.files import read_spec
from pvspec.lang.target import point_releases, version_text
from tests.shipped import LINUX


@cache
def releases() -> list[Target]:
    files = read_spec(LINUX, Findings())
    found = []
    for target in files.targets:
        built = files.for_kernel(target, Findings()).built
        found += point_releases(target, {version.numbers for file in built for version in file.versions})
    return found


def test_there_are_some() -> None:
    assert {target.machine for target in releases()} == {"x86_64", "i386"}
    assert all(len(target.version or ()) == 3 for target in releases())


@pytest.mark.parametrize("target", releases(), ids=str)
def test_it_is_fine(target: Target) -> None:
    checked = check_spec(LINUX, kernel=version_text(target.version), machine=target.machine)
    assert [str(finding) for finding in checked.diagnostics] == []
