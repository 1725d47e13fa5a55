"""The JSON objects have the shape that docs/commands.md promises."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.cli.json_text import pieces
from pvspec.support.json_data import Json

from .conftest import SPEC, Run
from .test_outcome import PVSPEC

COMMON = {"command": str, "ok": bool, "diagnostics": list, "errors": list}


def assert_shape(value: dict[str, Any], shape: dict[str, Any]) -> None:
    assert {key: type(part) for key, part in value.items()} == shape


def assert_diagnostic(value: dict[str, Any]) -> None:
    help = type(value.get("help"))
    assert help in (str, type(None))
    assert value["severity"] in ("error", "warning")
    assert_shape(value, {"severity": str, "code": str, "message": str, "labels": list, "notes": list, "help": help})
    for label in value["labels"]:
        numbers = dict.fromkeys(("line", "column", "end_line", "end_column"), int)
        assert_shape(label, {"file": str, "text": str, **numbers})
    assert all(isinstance(note, str) for note in value["notes"])


def test_compile(run: Run, spec: Path) -> None:
    first = run("compile", spec, "-o", "out.py", "--json").json
    assert_shape(first, {**COMMON, "output": str, "written": bool})
    again = run("compile", spec, "-o", "out.py", "--json").json
    assert (first["written"], again["written"]) == (True, False)
    assert first["output"] == "out.py"


def test_check(run: Run, spec: Path) -> None:
    value = run("check", spec, "--json").json
    assert_shape(value, {**COMMON, "specs": list})
    assert value["specs"] == ["toy.pvs"]
    assert value["command"] == "check"


def test_test(run: Run, spec: Path) -> None:
    value = run("test", spec, "--json").json
    assert_shape(value, {**COMMON, "cases": list})
    (case,) = value["cases"]
    assert_shape(case, {"kernel": str, "test": str, "file": str, "line": int, "column": int, "passed": bool})
    assert (case["test"], case["file"], case["line"], case["passed"]) == ("native", "toy.pvs", 21, True)
    assert case["kernel"] == "i386"


def test_a_test_that_fails(run: Run, spec: Path) -> None:
    spec.write_text(SPEC.replace('"fa" nops', '"fb" nops'), encoding="utf-8")
    done = run("test", spec, "--json")
    assert done.code == 1
    assert [case["passed"] for case in done.json["cases"]] == [False]
    assert [found["code"] for found in done.json["diagnostics"]] == ["PV501"]


def test_fmt(run: Run, spec: Path) -> None:
    spec.write_text(SPEC.replace("    ", "  "), encoding="utf-8")
    checked = run("fmt", "--check", spec, "--json")
    assert_shape(checked.json, {**COMMON, "changed": list, "written": bool})
    assert (checked.code, checked.json["changed"], checked.json["written"]) == (1, ["toy.pvs"], False)
    assert run("fmt", spec, "--json").json["changed"] == ["toy.pvs"]
    assert run("fmt", spec, "--json").json["changed"] == []


@pytest.mark.parametrize("command", [("check",), ("test",), ("compile", "-o", "out.py")])
def test_findings(run: Run, wrong: Path, command: tuple[str, ...]) -> None:
    done = run(*command, wrong, "--json")
    value = done.json
    assert (done.code, value["ok"], value["command"]) == (1, False, command[0])
    assert [found["code"] for found in value["diagnostics"]] == ["PV101", "PV401"]
    for found in value["diagnostics"]:
        assert_diagnostic(found)
    (label, *_) = value["diagnostics"][0]["labels"]
    assert label | {"text": ""} == {
        "file": "wrong.pvs",
        "line": 4,
        "column": 17,
        "end_line": 4,
        "end_column": 21,
        "text": "",
    }


@pytest.mark.parametrize(
    "command",
    [
        ("apply", "vmlinux", "-o", "out"),
        ("explain", "vmlinux", "0"),
        ("predict", "vmlinux"),
        ("diff-text", "vmlinux", "a", "b"),
    ],
    ids=lambda command: command[0],
)
def test_errors_without_a_place(run: Run, spec: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "--json")
    assert (done.code, done.json["ok"]) == (1, False)
    (error,) = done.json["errors"]
    assert "vmlinux" in error


# ---- how it is written

WORDS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner)
)


@given(st.dictionaries(WORDS, VALUES))
def test_it_is_the_text_of_the_json_module(value: dict[str, Any]) -> None:
    """With lists as they are, and as iterators."""
    text = json.dumps(value, indent=2, sort_keys=True)
    assert "".join(pieces(value)) == text
    assert "".join(pieces({key: iter(v) if isinstance(v, list) else v for key, v in value.items()})) == text


def test_a_list_is_written_as_it_is_made() -> None:
    made = written = 0

    def sites() -> Iterator[Json]:
        nonlocal made
        for made in range(1, 100_001):
            yield {"address": made, "others": []}

    for piece in pieces({"sites": sites()}):
        written += piece.count("address")
        assert made - written < 10_000
    assert written == 100_000


@pytest.mark.parametrize("text", ["\udc80", "a\ud800b", "\udfff\ud800", "\U0001f600\udc80"])
def test_half_of_a_surrogate_pair(text: str) -> None:
    """As the same text on the terminal; many programs refuse JSON with the half of a pair."""
    (read,) = json.loads("".join(pieces({text: [text]})).encode()).items()
    shown = text.encode("utf-8", "backslashreplace").decode()
    assert read == (shown, [shown])


NAMES = [b"a\x80b", b"a\nb", b"a\x1b[2Jb", "\u202e".encode(), b'"\\', b"x" * 255, b"y" * 100_000]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_text(tmp_path: Path, name: bytes) -> None:
    for confined in ((), ("--confined",)):
        words = [*PVSPEC, *confined, "check", name, "--json"]
        done = subprocess.run(words, capture_output=True, cwd=tmp_path, env={**os.environ, "LC_ALL": "C"})
        assert (done.returncode, done.stderr) == (1, b"")
        value = json.loads(done.stdout.decode("utf-8"))
        value["specs"][0].encode("utf-8")
        assert not value["ok"]
