"""The matrix itself, without booting: its cases, what is done again, and what a log gives back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pvspec.kernel import open_image

from . import guest, matrix
from .boot import WAYS, Dump
from .cases import KERNELS, Case, cases
from .compare import Counts

OLD = [kernel for kernel in KERNELS if kernel.version != "6.12"]
COUNTS = Counts(
    text=2, changed=1, wrong_with_state=0, wrong_without_state=1, unexplained=0, sites={"locks": 1}, two_formed={}
)


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


@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel not in OLD], ids=lambda kernel: kernel.name)
def test_what_linux_6_12_meets(kernel: Any) -> None:
    cpus = {"qemu64", "max", "EPYC", "EPYC-Milan", "Skylake-Client", "Cascadelake-Server"}
    assert met(kernel) >= cpus | {1, 2, "native", "kvm", "xen", "mitigations=off", "retbleed=stuff"}


def test_one_plain_boot_of_every_kernel_comes_first() -> None:
    first = list(cases())[: len(KERNELS)]
    assert [case.name for case in first] == [f"{kernel.name}.native.qemu64.smp1" for kernel in KERNELS]


def test_a_log_gives_back_what_was_sent() -> None:
    sent = base64.b64encode(bytes(range(256)) * 9).decode()
    lines = [f"[ 1.0] pvspec: base64 {sent[start : start + 800]}" for start in range(0, len(sent), 800)]
    log = "\n".join([*lines[:1], "[ 1.1] another message", *lines[1:]]).encode()
    assert guest.logged(log) is None
    assert guest.logged(log + b"\n" + guest.MARKER) == bytes(range(256)) * 9


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of cases that are predicted, which boot at once; a case of 5.10 does not come up."""
    names: list[str] = []

    def compare(kernel: Path, machine: object, dump: Dump) -> Counts:
        names.append(dump.directory.name)
        return COUNTS

    def each(work: Callable[[Case], Any], chosen: Sequence[Case], jobs: int) -> Iterator[tuple[Case, Any]]:
        for case in reversed(chosen):
            yield case, None if case.kernel.version == "5.10" else work(case)

    monkeypatch.setattr(matrix, "compare", compare)
    monkeypatch.setattr(matrix, "_each", each)
    monkeypatch.setattr(matrix, "_booted", lambda case: Dump(0, tmp_path / case.name / "memory", tmp_path))
    monkeypatch.setattr(matrix.Case.kernel.__class__, "package", None, raising=False)
    return names
