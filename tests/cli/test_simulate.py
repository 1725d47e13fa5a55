"""`pvspec simulate`: exit codes, JSON, the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvspec.simulation.strategies import STRATEGIES, two_stage

from .conftest import Run
from .test_json import COMMON, assert_shape

SHAPE = {**COMMON, "backend": str, "sites": list, "replays": list, "interleavings": list, "claims": list}


def test_text(run: Run) -> None:
    done = run("simulate", "--strategy", "two-stage", "--backend", "vmi")
    assert (done.code, done.err) == (0, "")
    assert "two-stage: 0 of 24 orders of the sites end well; this one:" in done.out
    assert "page fault" in done.out


def test_json(run: Run) -> None:
    done = run("simulate", "--strategy", "two-stage", "--json")
    value = done.json
    assert done.code == 0
    assert_shape(value, SHAPE)
    assert [site["op"] for site in value["sites"]] == ["pgd_val", "save_fl", "irq_disable", "restore_fl"]
    code = {"before": str, "after": str}
    assert_shape(value["sites"][0], {"op": str, "address": int, "place": str, "clobber": int, **code})
    (replay,) = value["replays"]
    counts = dict.fromkeys(("orders", "survived", "crashed", "ran_torn", "ended_wrong"), int)
    assert_shape(replay, {"strategy": str, **counts, "steps": list})
    written, poked = replay["steps"]
    step = {"stage": str, "op": str, "address": int, "code": str, "ran": list, "traps": int}
    assert_shape(written, {**step, "fault": type(None)})
    assert_shape(poked, {**step, "fault": str})
    ran = {"address": int, "place": str, "code": str, "instruction": str, "torn": bool}
    assert_shape(poked["ran"][-1], ran)
    assert poked["ran"][-1]["torn"]
    assert len(value["interleavings"]) == 5 * 4
    counts = dict.fromkeys(("total", "broken", "states"), int)
    rules = {"stores": str, "split_fetch": bool, "sync": type(None)}
    assert_shape(value["interleavings"][0], {"strategy": str, **rules, "op": str, **counts})
    assert all(claim["held"] for claim in value["claims"])


def test_the_picture_is_written_whole_and_once(run: Run, tmp_path: Path) -> None:
    drawing: tuple[Any, ...] = ("simulate", "--strategy", "marshalled", "--svg", tmp_path / "picture.svg")
    assert "picture.svg: written" in run(*drawing).out
    assert "picture.svg: unchanged" in run(*drawing).out
    assert run(*drawing, "--json").json["written"] is False
    assert (tmp_path / "picture.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_what_is_not_as_claimed_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "marshalled", two_stage)
    done = run("simulate", "--strategy", "marshalled")
    assert done.code == 1
    assert "error: not as claimed: marshalled: every order of the sites ends with all of them right" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "kvm"), "there is no backend 'kvm'; there are: lguest, native, vmi, xen"),
        (("missing.pvs",), "missing.pvs cannot be read: no such file"),
        (("toy.pvs",), "the guest calls the op pgd_val, which paravirt_ops lacks"),
        (("wrong.pvs",), "wrong.pvs:4:17"),
        (("--strategy", "two-stage", "--svg", "missing/x.svg"), "missing/x.svg cannot be written: "),
    ],
)
@pytest.mark.usefixtures("wrong")
def test_what_is_wrong(run: Run, arguments: tuple[str, ...], message: str) -> None:
    done = run("simulate", *arguments)
    assert done.code == 1
    assert message in done.err


def test_the_command_line_knows_all_strategies(run: Run) -> None:
    """It names them itself, since it must not load them."""
    done = run("simulate", "--strategy", "none")
    assert done.code == 2
    for strategy in (*STRATEGIES, "all"):
        assert f"'{strategy}'" in done.err
