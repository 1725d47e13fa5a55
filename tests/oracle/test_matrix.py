"""The matrix itself, without booting: its cases, what is done again, and what a log gives back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from . import guest, matrix
from .boot import WAYS, Dump
from .cases import KERNELS, Case, Kernel, cases
from .compare import Counts

REAL_TIME = [kernel for kernel in KERNELS if kernel.flavour.startswith("rt-")]
OLD = [kernel for kernel in KERNELS if kernel.version != "6.12" and kernel not in REAL_TIME]
NEW = [kernel for kernel in KERNELS if kernel.version == "6.12" and kernel not in REAL_TIME]
COUNTS = cast(Counts, {"text": 2, "changed": 1, "wrong_with_state": 0, "wrong_without_state": 1, "unexplained": 0})


def met(kernel: object) -> set[object]:
    """Hypervisors, CPUs and words of the command line in the cases of a kernel."""
    machines = [case.machine for case in cases() if case.kernel == kernel]
    words = {word for machine in machines for word in machine.append.split()}
    return words | {value for machine in machines for value in (machine.hypervisor, machine.cpu, machine.smp)}


def test_each_case_has_its_name() -> None:
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
    assert {case.machine.hypervisor for case in cases()} == set(WAYS)


@pytest.mark.parametrize("kernel", OLD, ids=lambda kernel: kernel.name)
def test_every_value_meets_every_kernel(kernel: Any) -> None:
    everywhere = {1, 2, "native", "kvm", "hyperv", "qemu64", "max", "Skylake-Client"}
    words = {"mitigations=off", "spectre_v2=retpoline,lfence", "nosmp", "noreplace-smp"}
    bits_64 = {"xen", "EPYC", "EPYC-Milan", "Cascadelake-Server", "Nehalem"}
    bits_32 = {"qemu32", "pentium3", "athlon"}
    assert met(kernel) >= everywhere | words | (bits_64 if kernel.arch == "amd64" else bits_32)


@pytest.mark.parametrize("kernel", NEW, ids=lambda kernel: kernel.name)
def test_what_linux_6_12_meets(kernel: Any) -> None:
    cpus = {"qemu64", "max", "EPYC", "EPYC-Milan", "Skylake-Client", "Cascadelake-Server"}
    assert met(kernel) >= cpus | {1, 2, "native", "kvm", "mitigations=off", "retbleed=stuff"}
    assert ("xen" in met(kernel)) == (kernel.flavour == "amd64")


@pytest.mark.parametrize("kernel", REAL_TIME, ids=lambda kernel: kernel.name)
def test_what_real_time_meets(kernel: Any) -> None:
    assert met(kernel) >= {1, 2, "native", "qemu64", "EPYC-Milan" if kernel.arch == "amd64" else "max"}


def test_one_plain_boot_of_every_kernel_comes_first() -> None:
    first = [case.name for case in cases()][: len(OLD + NEW)]
    assert first == [f"{kernel.name}.native.qemu64.smp1" for kernel in KERNELS if kernel not in REAL_TIME]


def test_a_log_gives_back_what_was_sent() -> None:
    sent = base64.b64encode(bytes(range(256)) * 9).decode()
    lines = [f"[ 1.0] pvspec: base64 {sent[start : start + 800]}" for start in range(0, len(sent), 800)]
    log = "\n".join([*lines[:1], "[ 1.1] another message", *lines[1:]]).encode()
    assert guest.logged(log) is None
    assert guest.logged(log + b"\n" + guest.MARKER) == bytes(range(256)) * 9


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The boots that are predicted. All boot at once, but those of a 686 without PAE do not come up."""
    boots: list[str] = []

    def compare(kernel: Path, machine: object, dump: Dump) -> Counts:
        boots.append(dump.directory.name)
        return COUNTS

    def each(work: Callable[[Case], Any], chosen: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Any]]:
        for case in reversed(chosen):
            yield case, None if case.kernel.flavour == "686" else work(case)

    monkeypatch.setattr(matrix, "compare", compare)
    monkeypatch.setattr(matrix, "_each", each)
    monkeypatch.setattr(matrix, "_booted", lambda case: Dump(0, tmp_path / case.name / "memory", tmp_path))
    monkeypatch.setattr(Kernel, "package", lambda kernel: tmp_path)
    return boots


def run(results: Path, only: str) -> int:
    return matrix.main(["--only", only, "--results", str(results)])


def test_results_are_sorted_and_kept(predicted: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    assert run(results, "^6.1-686-pae.native.(qemu64|max)") == 0
    assert run(results, "^6.1-686-pae.native.qemu32") == 0
    kept = json.loads(results.read_text())
    assert list(kept) == sorted(predicted)
    assert results.read_text() == json.dumps(kept, indent=1, sort_keys=True) + "\n"
    assert all(result["counts"] == COUNTS for result in kept.values())


def test_nothing_is_predicted_twice(predicted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, one = tmp_path / "results.json", "^6.1-amd64.native.qemu64"
    run(results, one)
    run(results, one)
    assert len(predicted) == 1
    monkeypatch.setattr(matrix, "predictor", lambda parts: "another")
    run(results, one)
    assert len(predicted) == 2
    monkeypatch.setattr(matrix, "_booted", lambda case: Dump(0, tmp_path / "another" / "memory", tmp_path))
    run(results, one)
    assert len(predicted) == 3


def test_a_failed_boot_is_no_success_and_has_no_result(predicted: list[str], tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text('{"6.1-686.native.qemu64.smp1": {}}')
    assert run(results, "^6.1-686.native.qemu64") == 1
    assert json.loads(results.read_text()) == {}


def test_a_wrong_byte_is_no_success(predicted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("wrong_with_state", "unexplained"):
        counts = {**COUNTS, wrong: 1}
        monkeypatch.setattr(matrix, "compare", lambda *_, counts=counts: counts)
        assert run(tmp_path / f"{wrong}.json", "^6.1-amd64.native.qemu64") == 1


def test_the_predictor_is_what_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    (tmp_path / "specs").mkdir()
    digests = set()
    for name, text in [("a", "1"), ("a", "2"), ("b", "2")]:
        (tmp_path / "specs" / name).write_text(text)
        (tmp_path / name).write_text(text)
        digests.add(matrix.predictor(["specs"]))
    assert len(digests) == 3


def test_what_is_no_pattern_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        matrix.main(["--only", "("])
    assert "no regular expression" in capsys.readouterr().err
