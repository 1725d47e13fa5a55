"""The tables of the matrix's results, on results that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from . import table
from .compare import Counts
from .matrix import Result

COUNTS = {
    "text": 9000,
    "changed": 1500,
    "wrong_with_state": 0,
    "wrong_without_state": 7,
    "unexplained": 0,
    "sites": {"ftrace": 1000, "jump_labels": 20, "xen_iret": 0},
    "two_formed": {"jump_labels": 20},
    "absent": ["trampolines"],
}
PLAIN, MAX, OTHER = "6.1-amd64.native.qemu64.smp1", "6.1-amd64.native.max.smp2", "5.10-686.native.qemu32.smp1"


def results(**names: dict[str, object]) -> dict[str, Result]:
    every = {name: Result(boot="b", predictor="p", counts=cast(Counts, COUNTS)) for name in (PLAIN, MAX, OTHER)}
    every[MAX]["counts"] = cast(Counts, {**COUNTS, **names.get("max", {})})
    return every


def rows(results: dict[str, Result]) -> dict[tuple[str, ...], list[str]]:
    """The tables' rows by their words: by kernel, hypervisor, CPU and command line, or by family."""
    lines = [line.strip("| ").split(" | ") for line in table.tables(results).splitlines() if line.startswith("|")]
    return {tuple(line[:4]) if len(line) > 5 else (line[0],): line for line in lines}


def test_a_row_for_each_boot() -> None:
    found = rows(results())
    assert found["6.1-amd64", "native", "qemu64", ""][4:] == ["1", "1,500", "0", "1,000", "20", "7", "0"]
    boots = [(key[0], key[2]) for key in found if "native" in key]
    in_order = [("5.10-686", "qemu32"), ("6.1-amd64", "qemu64"), ("6.1-amd64", "max")]
    assert boots == in_order, "kernel by kernel, in the matrix's order"


@pytest.mark.parametrize("key", ["unexplained", "wrong_with_state"])
def test_nothing_is_called_exact_where_a_byte_is_wrong(key: str) -> None:
    found = rows(results(max={key: 1}))
    assert found["6.1-amd64", "native", "max", ""][7] == ""
    assert found["6.1-amd64", "native", "qemu64", ""][7] == "1,000"


def test_the_sum_of_it_all() -> None:
    text = table.tables(results(max={"unexplained": 3, "wrong_with_state": 2}))
    assert text.startswith("\n3 of ")
    assert "4,500 bytes changed; with the boot's state 2 predicted wrong; without, 21" in text
    assert "3 of them unexplained" in text


def test_a_row_for_each_family() -> None:
    found = rows(results(max={"sites": {"ftrace": 1001, "jump_labels": 20}}))
    assert found["ftrace",] == ["ftrace", "1,000", "1,000 to 1,001"]
    assert found["jump_labels",] == ["jump_labels", "20; all", "20; all"]
    assert found["xen_iret",] == ["xen_iret", "0", "0"]
    assert found["trampolines",][:1] == ["trampolines"]
    some = rows(results(max={"two_formed": {"jump_labels": 10}}))
    assert some["jump_labels",] == ["jump_labels", "20; all", "20; 10 to 20"]


def test_without_results_there_is_no_table() -> None:
    page = f"a\n{table.BEGIN}old\n{table.END}b\n"
    assert table.with_tables(page, {}) == f"a\n{table.BEGIN}{table.END}b\n"


def test_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, file = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(f"a\n{table.BEGIN}old\n{table.END}b\n")
    file.write_text(json.dumps(results()))
    monkeypatch.setattr(table, "PAGE", page)
    assert table.main(["--results", str(file)]) == 0
    assert page.read_text() == f"a\n{table.BEGIN}{table.tables(results())}{table.END}b\n"
