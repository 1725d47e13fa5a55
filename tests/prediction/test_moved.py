"""A small kernel that KASLR moved is predicted as the same one linked there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.kernel import KernelImage, open_kernel
from pvspec.prediction import Prediction
from pvspec.prediction.bind import bind
from pvspec.prediction.cpu import parse_cpuinfo
from pvspec.prediction.machine import Machine
from pvspec.prediction.passes import run_passes
from tests.kernel.moving import fields, table

from .kernel import BASE, CPUINFO, SCRIPT, SOURCE, SPEC, build

SLIDE = 0x2400000
MARKS = """
    .balign 8
    .globl __start_marks, __stop_marks
    __start_marks: .quad start, replaced_by, start
    __stop_marks:
"""
FAMILY = """
family marks {
    table __start_marks .. __stop_marks padded { site u64 }
    len 1
    bytes "f4"  when site begins "c3"
}

passes { marks, """


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def linked(base: int = BASE) -> Path:
    """With an absolute address in the text; its table of marks has two records that were zeroed when all was linked."""
    absolute = SOURCE.replace("    replaced_by: ret", "        mov $start, %rdi\n    replaced_by: ret")
    kernel = build(absolute + MARKS)
    Path("kernel.pvs").write_text(SPEC.replace("passes { ", FAMILY.lstrip(), 1), encoding="utf-8")
    Path("kernel.lds").write_text(SCRIPT.replace(f"{BASE:#x}", f"{base:#x}"), encoding="utf-8")
    for name, *options in ((str(kernel),), (f"{kernel}.symbols", "--emit-relocs")):
        subprocess.run(["ld", *options, "-e", str(base), "-T", "kernel.lds", "-o", name, "kernel.o"], check=True)
    image = open_kernel(kernel)
    place = image.symbols.address("__start_marks")
    assert place is not None
    before, marks = bytes(image.memory), image.read(place, 24)
    image.memory[place - image.base : place - image.base + 24] = bytes(8) + marks[8:16] + bytes(8)
    assert image.memory != before
    image.write(kernel, image.memory)
    return kernel


def moved() -> KernelImage:
    kernel = linked()
    lists = fields(kernel, "x86_64")
    assert [len(part) for part in lists] == [1, 0, 4]
    kernel.write_bytes(kernel.read_bytes() + table(lists))
    return open_kernel(kernel).moved(SLIDE)


def predicted(image: KernelImage) -> Prediction:
    cpu = parse_cpuinfo(CPUINFO, "cpuinfo")
    return run_passes(bind(load_spec(Path("kernel.pvs")), image, Machine(cpu=cpu, cpus=1)))


def test_as_if_linked_there() -> None:
    here, there = predicted(moved()), predicted(open_kernel(linked(BASE + SLIDE)))
    assert here.text == there.text
    assert [here.start, here.end] == [there.start, there.end]
    assert here.counts == there.counts
    assert [site[:7] for site in here.sites] == [site[:7] for site in there.sites]


def test_padding_moves_too() -> None:
    """It is not zero then, and still no record."""
    prediction = predicted(moved())
    image = prediction.bound.image
    place = image.symbols.address("__start_marks")
    assert place is not None
    assert image.read(place, 8) == SLIDE.to_bytes(8, "little")
    assert prediction.counts["marks"] == {"records": 1, "sites": 1, "changed": 1, "dynamic": 0}
    (site,) = (site for site in prediction.sites if site.table == "marks")
    assert site.address == image.symbols.address("replaced_by")
