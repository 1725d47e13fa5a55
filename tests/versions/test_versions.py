"""pyproject.toml's lower bounds are those that were tried, and CONTRIBUTING.md shows what came of it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.versions import __main__ as command
from tests.versions import bounds, cell, pythons, table

REQUIREMENTS = bounds.requirements()
TRIED = table.read()["tried"]


def number(version: str) -> tuple[int, ...]:
    """Without zeros at the end: 1.20 and 1.20.0 are one version."""
    return tuple(map(int, re.findall(r"\d+", re.sub(r"(\.0)+$", "", version))))


@pytest.mark.parametrize("text", ["lark", "lark==1.2", "lark>=1.2,<2", "lark>1", "lark~=1.2", "lark[regex]>=1.2"])
def test_a_requirement_has_a_lower_bound_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="NAME>=VERSION"):
        bounds.parsed(text)


def test_a_bound_may_be_for_some_pythons() -> None:
    lz4 = bounds.parsed("lz4>=4.4.5; python_version >= '3.14'")
    assert lz4.oldest == "lz4==4.4.5; python_version >= '3.14'"
    assert lz4.newest == "lz4>=4.4.5; python_version >= '3.14'"


def test_bounds_of_one_library_exclude_each_other() -> None:
    """Else pip would be asked for two versions at once."""
    several = {name for name, times in Counter(one.name for one in REQUIREMENTS).items() if times > 1}
    for name in several:
        markers = [one.marker for one in REQUIREMENTS if one.name == name]
        version = re.escape(markers[-1].split()[-1])
        assert re.fullmatch(f"; python_version < {version}\n; python_version >= {version}", "\n".join(markers)), name


def test_pythons_begin_with_the_oldest_that_will_do() -> None:
    pyproject = tomllib.loads(bounds.ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["requires-python"] == f">={bounds.PYTHONS[0]}"


def test_all_was_tried() -> None:
    """All, or nothing yet; where a Python cannot be had, the record says why."""
    had_not = {name for name in table.cells() if name.split()[0] in table.read()["not had"]}
    assert not TRIED or set(TRIED) | had_not == set(table.cells())


@pytest.mark.parametrize("name", TRIED)
def test_nothing_failed(name: str) -> None:
    result = TRIED[name]
    assert result["failed"] == {}
    assert re.match(r"\d+ passed", result["tests"])
    assert result["python"].startswith(f"{name.split()[0]}.")


@pytest.mark.parametrize("name", TRIED)
def test_the_oldest_are_the_lower_bounds(name: str) -> None:
    """Each library of pyproject.toml was tried at its bound; the newest is that or a later one."""
    had = TRIED[name]["libraries"]
    for library in {one.name for one in REQUIREMENTS}:
        lower = [number(one.bound) for one in REQUIREMENTS if one.name == library]
        if name.endswith("oldest"):
            assert number(had[library]) in lower, library
        else:
            assert number(had[library]) >= min(lower), library


def test_the_page_shows_the_record(golden: Callable[[Path, str], None]) -> None:
    golden(table.PAGE, table.with_tables(table.PAGE.read_text(encoding="utf-8")))


def test_what_is_left_out_is_there() -> None:
    assert [name for name in cell.LEFT_OUT if not bounds.ROOT.joinpath("tests", name).exists()] == []


def test_a_python_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    for version in bounds.PYTHONS:
        with pytest.raises(pythons.Unavailable, match="not on the path"):
            pythons.find(version, tmp_path)


def test_another_version_under_that_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "python3.12"
    fake.write_text("#!/bin/sh\necho 3.1.2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(pythons.Unavailable):
        pythons.find("3.12", tmp_path)
    fake.write_text("#!/bin/sh\necho 3.12.9\n")
    assert pythons.find("3.12", tmp_path) == pythons.Python("3.12.9", str(fake))


def test_a_failure_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command of a step that fails ends the step, and without libraries nothing else is tried."""
    tried = {"environment": [("true",)], "libraries": [("sh", "-c", "echo no wheel >&2; exit 3"), ("false",)]}
    monkeypatch.setattr(cell, "steps", lambda python, folder: [*tried.items(), ("tests", [("echo", "1 passed")])])
    monkeypatch.setattr(cell, "_libraries", lambda python, folder: {})
    monkeypatch.setattr(cell, "ROOT", tmp_path / "empty")
    tmp_path.joinpath("empty").mkdir()
    result = cell.run(pythons.Python("3.12.9", "python3.12"), True, tmp_path / "cell")
    assert result == {"python": "3.12.9", "libraries": {}, "failed": {"libraries": "no wheel"}, "tests": ""}
    shown = table.tables({"tried": {"3.12 oldest": result}, "not had": {"3.14": "not to be had"}})
    assert "| 3.12.9 | oldest |  | libraries: no wheel |" in shown.splitlines()
    assert "| 3.14 | newest | not tried | not to be had |" in shown.splitlines()


def test_a_run_keeps_each_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find(version: str, folder: Path) -> pythons.Python:
        if version == "3.12":
            raise pythons.Unavailable("not to be had")
        return pythons.Python(f"{version}.5", "python")

    def run(python: pythons.Python, oldest: bool, folder: Path) -> cell.Result:
        failed = {"types": "1 error"} if oldest and python.version == "3.13.5" else {}
        return {"python": python.version, "libraries": {"lark": "1.2"}, "failed": failed, "tests": "7 passed in 3s"}

    monkeypatch.setattr(table, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(command, "find", find)
    monkeypatch.setattr(cell, "run", run)
    monkeypatch.setenv("PVSPEC_CACHE", str(tmp_path))
    assert command.main(["--only", "3.11"]) == 1  # the others were not tried
    assert set(table.read()["tried"]) == {"3.11 oldest", "3.11 newest"}
    assert command.main(["--jobs", "2"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert "| 3.13.5 | oldest | 7 passed | types: 1 error |" in shown
    assert "| 3.12 | oldest | not tried | not to be had |" in shown
    assert "| 3.14.5 | newest | 7 passed | nothing |" in shown
    assert "| lark | 1.2 | 1.2 |" in shown
    monkeypatch.setattr(command, "find", lambda version, folder: pythons.Python(f"{version}.9", "python"))
    assert command.main(["--only", "3.12"]) == 1  # 3.13's types
    assert table.read()["not had"] == {}
    assert command.main([]) == 0
    assert command.main(["--show"]) == 0
