"""What nothing tells of a machine, as the commands say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.kernel import open_kernel

from ..prediction.kernel import CPUINFO, SPEC, build
from .conftest import Run

ONE = CPUINFO.partition("\n\n")[0] + "\n"
OPTIONS = ("--spec", "kernel.pvs", "--cpu", "cpuinfo")
LINE = (
    "open: cpus == 1, taken as yes (how many processors there were when the kernel patched itself): "
    "1 site, 1 byte; --cpus N\n"
)


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small kernel, its spec, and the /proc/cpuinfo of a machine with one processor, in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("cpuinfo").write_text(ONE)
    return build()


def test_predict_lists_it(run: Run, vmlinux: Path) -> None:
    assert run("predict", vmlinux, *OPTIONS).out.endswith(LINE)
    value = run("predict", vmlinux, *OPTIONS, "--json").json
    (fact,) = value["open"]
    assert fact == {
        "name": "cpus == 1",
        "source": "how many processors there were when the kernel patched itself",
        "taken": True,
        "sites": 1,
        "bytes": 1,
        "settle": "--cpus N",
        "failed": None,
    }
    locked = next(site for site in value["sites"] if site["table"] == "smp_locks")
    assert locked["others"] == [{"code": "f0", "rule": None, "when": "not cpus == 1"}]


def test_explain_lists_it(run: Run, vmlinux: Path) -> None:
    address = hex(open_kernel(vmlinux).symbols.address("locked") or 0)
    done = run("explain", vmlinux, address, *OPTIONS)
    assert "  or      f0  as it was built  if not cpus == 1\n" in done.out
    assert done.out.endswith(LINE)
    assert len(run("explain", vmlinux, address, *OPTIONS, "--json").json["open"]) == 1


def test_apply_warns(run: Run, vmlinux: Path) -> None:
    done = run("apply", vmlinux, *OPTIONS, "-o", "patched")
    assert (done.code, done.err) == (
        0,
        "warning: other texts are possible, since nothing tells of cpus == 1; `pvspec predict` lists what differs\n\n",
    )
    assert run("apply", vmlinux, *OPTIONS, "-o", "patched", "--json").json["open"] == ["cpus == 1"]


def test_it_is_settled(run: Run, vmlinux: Path) -> None:
    done = run("predict", vmlinux, *OPTIONS, "--cpus", "1")
    assert "open:" not in done.out
    assert run("apply", vmlinux, *OPTIONS, "--cpus", "1", "-o", "patched").err == ""


HIDDEN = """
decide hidden in "common.c" {
    open UNRET from "nobody" when mitigations is off
}
"""


@pytest.mark.parametrize(("answer", "code"), [("yes", "e9"), ("no", "c3")])
def test_assume(run: Run, vmlinux: Path, answer: str, code: str) -> None:
    Path("kernel.pvs").write_text(SPEC + HIDDEN)
    options = (*OPTIONS, "--cpus", "2", "--cmdline", "mitigations=off")
    assert "open: UNRET, taken as no (nobody)" in run("predict", vmlinux, *options).out
    value = run("predict", vmlinux, *options, "--assume", f"UNRET={answer}", "--json").json
    (site,) = (site for site in value["sites"] if site["table"] == "returns")
    assert (value["open"], site["after"][:2]) == ([], code)


@pytest.mark.parametrize(
    ("assumed", "code", "message"),
    [
        ("UNRET=maybe", 2, "must be NAME=yes, NAME=no, or threads= or microcode= and a number"),
        ("UNRET", 2, "must be NAME=yes"),
        ("UNRET=yes", 1, "UNRET cannot be assumed: nothing that this kernel decides leaves it open"),
        ("UNRE=yes", 1, "there is no feature 'UNRE'"),
    ],
)
def test_what_cannot_be_assumed(run: Run, vmlinux: Path, assumed: str, code: int, message: str) -> None:
    done = run("predict", vmlinux, *OPTIONS, "--assume", assumed)
    assert done.code == code
    assert message in done.err


def test_a_value_that_the_kernel_does_not_know_is_warned_of(run: Run, vmlinux: Path) -> None:
    done = run("predict", vmlinux, *OPTIONS, "--cmdline", "mitigations=maybe")
    text = "the command line's `mitigations=maybe` changes nothing: the kernel knows no such value"
    assert (done.code, done.err) == (0, f"warning: {text}\n\n")
    assert run("predict", vmlinux, *OPTIONS, "--cmdline", "mitigations=maybe", "--json").json["warnings"] == [text]


def test_a_guest_is_warned_of(run: Run, vmlinux: Path) -> None:
    Path("cpuinfo").write_text(ONE.replace("sse2", "sse2 hypervisor"))
    assert run("predict", vmlinux, *OPTIONS).err == ""  # the spec knows of none
