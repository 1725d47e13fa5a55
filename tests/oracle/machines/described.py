"""What may be known of an observed machine: as the pvspec.Machine that a prediction begins with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pvspec
from pvspec.engine.spec import Spec
from pvspec.prediction.cpu import parse_cpuinfo

from .models import KVM, MSR_ONLY
from .observe import Observation
from .subject import Subject, numbers_in
from .trial import Trial

Known = Literal["facts", "cpuinfo", "vulnerabilities"]
KNOWN: tuple[Known, ...] = ("facts", "cpuinfo", "vulnerabilities")
"""How much is known: all that the kernel knew when it decided; /proc/cpuinfo; that and the vulnerabilities files."""

_MADE = ("UP",)  # what specs say of a kernel that has patched its locks, though the kernel itself keeps no such feature


def described(subject: Subject, spec: Spec, trial: Trial, seen: Observation, known: Known) -> pvspec.Machine:
    """The machine, as far as it is known."""
    cpu = parse_cpuinfo(cpuinfo(subject, trial, seen), "the machine's cpuinfo")
    machine = pvspec.Machine(cpu=cpu, cmdline=trial.cmdline, hypervisor="native" if trial.guest is None else "kvm")
    match known:
        case "cpuinfo":
            return machine
        case "vulnerabilities":
            return machine.changed(cpu=replace(cpu, vulnerabilities=seen.shown))
        case "facts":
            had, lacking = _features(subject, spec, trial, seen)
            return machine.changed(cpus=trial.processors, features=had, lacking=lacking)


def _features(
    subject: Subject, spec: Spec, trial: Trial, seen: Observation
) -> tuple[tuple[str | int, ...], tuple[str, ...]]:
    """The features that the kernel had when it decided, and those that it lacked, as far as the spec knows them."""
    had = frozenset(numbers_in(seen.before))
    known = spec.machine.features.items()
    lacking = [name for name, number in known if number >= 0 and name not in _MADE and number not in had]
    told = {**_capabilities(subject, trial, seen), **_offered(trial)}
    told = {name: has for name, has in told.items() if name in spec.machine.features}
    yes = (name for name, has in told.items() if has)
    return (*had, *yes), (*lacking, *(name for name, has in told.items() if not has))


def _capabilities(subject: Subject, trial: Trial, seen: Observation) -> dict[str, bool]:
    """What IA32_ARCH_CAPABILITIES says and no feature of the kernel's own."""
    value = trial.capabilities or 0
    reads = "arch_capabilities" in subject.shown(seen.before)[0]
    return {name: reads and bool(value & bit) for name, bit in MSR_ONLY.items()}


def _offered(trial: Trial) -> dict[str, bool]:
    """What KVM announces to its guest."""
    return {} if trial.guest is None else {name: bool(trial.guest >> bit & 1) for name, bit in KVM.items()}


def cpuinfo(subject: Subject, trial: Trial, seen: Observation) -> str:
    """The /proc/cpuinfo of that boot."""
    flags, bugs = subject.shown(seen.after)
    lines = {
        "vendor_id": trial.vendor,
        "cpu family": trial.family,
        "model": trial.model,
        "model name": "a machine made at random",
        "stepping": trial.stepping,
        "microcode": f"{trial.microcode:#x}",
        "physical id": 0,
        "siblings": seen.online,
        "cpu cores": -(-seen.online // seen.threads),
        "flags": " ".join(flags),
        "bugs": " ".join(bugs),
        "address sizes": "40 bits physical, 48 bits virtual",
    }
    return "\n".join(_of_each(lines, seen.online))


def _of_each(lines: dict[str, object], count: int) -> Iterator[str]:
    for number in range(count):
        yield f"processor\t: {number}"
        yield from (f"{name}\t: {value}" for name, value in lines.items())
        yield ""
