"""What the shipped policy decides of machines, by the table in cases.txt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from pvspec.compiler.cached import load_for
from pvspec.engine.decide import Decided
from pvspec.engine.facts import Facts, symbol_names
from pvspec.engine.spec import Cpu, Spec
from pvspec.lang.target import Wanted
from pvspec.prediction.cpu import parse_cpuinfo, read_cpu
from tests.shipped import LINUX

HERE = Path(__file__).parent
CASES = [line for line in (HERE / "cases.txt").read_text().splitlines() if line and not line.startswith("#")]


@cache
def spec_of(kernel: str) -> Spec:
    version, machine = kernel.split()
    major, minor = version.split(".")
    return load_for(LINUX, Wanted((int(major), int(minor)), machine))


def decided(kernel: str, cpu: str, cpus: str, hypervisor: str, cmdline: str, lacks: Sequence[str] = ()) -> Decided:
    """What a kernel decides; all its symbols are there, and its CPU is told to lack some features."""
    spec = spec_of(kernel)
    name, _, texts = cpu.partition("+")
    own = HERE / f"{name}.cpuinfo"
    processor = parse_cpuinfo(own.read_text(), own.name) if own.exists() else read_cpu(name)
    said = (HERE / f"{texts}.vulnerabilities").read_text().splitlines() if texts else ()
    known = spec.machine.shown
    symbols = {symbol: 0x1000 * (at + 1) for at, symbol in enumerate(sorted(symbol_names(spec)))}
    assert spec.interface is not None
    ops = next(iter(spec.interface.numbers.values()))
    return Decided(
        Facts(
            spec,
            hypervisor or "native",
            targets=dict.fromkeys(ops, 0x1000),
            symbols=symbols,
            features=[known[flag] for flag in processor.flags if flag in known],
            cpu=Cpu(
                processor.vendor,
                processor.family,
                processor.model,
                processor.stepping,
                processor.microcode or 0,
                processor.threads or 1,
            ),
            cpus=int(cpus),
            cmdline=cmdline,
            assumed=dict.fromkeys(lacks, False),
            vulnerabilities=dict((line.split(":", 1)[0], line.split(":", 1)[1].strip()) for line in said),
        )
    )


@pytest.mark.parametrize("case", CASES)
def test_decisions(case: str) -> None:
    kernel, cpu, cpus, hypervisor, cmdline, features = (part.strip() for part in case.split("|"))
    found = decided(kernel, cpu, cpus, hypervisor, cmdline)
    numbers = found.spec.machine.features
    wrong = []
    for want in features.split():
        number = numbers[want[1:]]
        match want[0]:
            case "?" | "!" as sign:
                right = (number in found.decisions.opened) == (sign == "?")
            case sign:
                right = (number in found.features) == (sign == "+")
        if not right:
            wrong.append(want)
    assert not wrong


@pytest.mark.parametrize(("kernel", "has"), [("5.10", True), ("6.1", True), ("6.12", False)])
def test_before_6_12_zen_2_has_the_microcode_whatever_cpuid_says(kernel: str, has: bool) -> None:
    spec = spec_of(f"{kernel} x86_64")
    found = decided(f"{kernel} x86_64", "rome-no-smt", "2", "", "", ("IBPB_BRTYPE",))
    shown = {name: spec.machine.features[name] in found.features for name in ("IBPB_BRTYPE", "SRSO")}
    assert shown == {"IBPB_BRTYPE": has, "SRSO": not has}
