"""A predicted text against the text of the same kernel booted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import pvspec
from pvspec.kernel import open_dump, open_kernel
from pvspec.prediction import Prediction
from pvspec.prediction.bind import bind
from pvspec.prediction.cpu import QEMU_MODEL, Processor, parse_cpuinfo, profiles, read_cpu
from pvspec.prediction.difference import masks
from pvspec.prediction.passes import run_passes
from pvspec.prediction.specs import spec_for

from .boot import Dump
from .qemu import Machine


class Counts(TypedDict):
    """How a boot's text and its predictions compare; numbers of bytes, but for `sites` and `two_formed`."""

    text: int  # from _text to _etext
    changed: int  # of these, those that the boot changed
    wrong_with_state: int  # those that the prediction has wrong, given the dump as the run-time state
    wrong_without_state: int  # the same, with the image's initial state
    unexplained: int  # of the latter, those that no site's legal forms admit
    sites: dict[str, int]  # sites by family
    two_formed: dict[str, int]  # of these, those reported as two-formed without the state
    absent: list[str]  # families of which the image shows no table


def compare(kernel: Path, machine: Machine, dump: Dump) -> Counts:
    """Predict the text of a kernel's package on a machine, with and without the dump's state, and compare.

    The CPU is a shipped profile where QEMU's model is one, and else what the guest's own /proc/cpuinfo says.
    """
    image = open_kernel(kernel)
    opened = open_dump(dump.memory_path, image)
    image = image.moved(opened.slide)
    spec = spec_for(image)
    hints = ("KVM_HINTS_REALTIME",) if "kvm-hint-dedicated=on" in machine.cpu else ()
    cpu = _cpu(machine, dump)
    described = pvspec.Machine(
        hypervisor=machine.hypervisor, features=hints, cpu=cpu, cpus=machine.smp, cmdline=machine.append
    )
    informed = run_passes(bind(spec, image, described, opened))
    blind = run_passes(bind(spec, image, described))
    after = dump.text(blind.start, blind.end)
    counts = blind.counts
    return Counts(
        text=len(after),
        changed=_count(image.read(blind.start, len(after)), after),
        wrong_with_state=_count(informed.text, after),
        wrong_without_state=_count(blind.text, after),
        unexplained=sum(1 for _ in unexplained(blind, after)),
        sites={name: count["sites"] for name, count in counts.items() if name in blind.bound.tables},
        two_formed={name: count["dynamic"] for name, count in counts.items() if count["dynamic"]},
        absent=[name for name in counts if name not in blind.bound.tables],
    )


def unexplained(prediction: Prediction, text: bytes) -> set[int]:
    """The addresses of bytes that are other than predicted, and not in a site one of whose other forms is there."""
    wrong = {
        prediction.start + page + at
        for page, mask in masks(prediction.text, text)
        for at, differs in enumerate(mask)
        if differs
    }
    for site in prediction.inside():
        start = site.address - prediction.start
        code = text[start : start + site.length] if site.others else b""
        if any(form.admits(code) for form in site.others):
            wrong.difference_update(range(site.address, site.address + site.length))
    return wrong


def _count(first: bytes | memoryview, second: bytes) -> int:
    return sum(len(mask) - mask.count(0) for _, mask in masks(first, second))


def _cpu(machine: Machine, dump: Dump) -> Processor:
    model, *changes = machine.cpu.split(",")
    lacking = {change[1:] for change in changes if change.startswith("-")}
    if machine.hypervisor in ("native", "xen") and model in profiles():
        cpu = read_cpu(model)
        return replace(cpu, flags=cpu.flags - lacking)
    own = parse_cpuinfo(dump.files["cpuinfo"].decode(), f"{dump.directory}: cpuinfo")
    return own if model in ("host", "max") else replace(own, flags=own.flags | {QEMU_MODEL})
