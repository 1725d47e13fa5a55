"""Small kernels whose tables Linux itself refuses, or passes over: assembled, each with one thing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec import Machine, PredictionError, open_kernel, predict
from pvspec.prediction.cpu import read_cpu
from tests.kernel.binutils import run

SOURCE = Path(__file__).with_name("small-6.1.s")
SCRIPT = Path(__file__).with_name("small.lds")
TEXT = 0xFFFFFFFF81000000


def predicted(source: str, work: Path, cpus: int = 2) -> bytes:
    """The text of the kernel that this assembles to, on a machine with so many processors; PredictionError."""
    path = work / "kernel.s"
    path.write_text(source)
    run("as", "--64", "-o", work / "kernel.o", path)
    run("ld", "-T", SCRIPT, "-o", work / "kernel", work / "kernel.o")
    return bytes(predict(open_kernel(work / "kernel"), Machine(cpu=read_cpu("EPYC"), cpus=cpus)).text)


def changed(old: str, new: str) -> str:
    source = SOURCE.read_text()
    assert source.count(old) == 1
    return source.replace(old, new)


def test_it_is_sound(tmp_path: Path) -> None:
    assert predicted(SOURCE.read_text(), tmp_path)[5:10] == bytes.fromhex("0f 1f 44 00 00")


REFUSED = [
    (".word 26 #", ".word 768 #", "alternatives: record 0, site 0xffffffff81000028: ", "a feature beyond the last one"),
    (".word 9*32+20", ".word 0x7fff", "alternatives: record 1, site ", "a feature beyond the last one"),
    (".byte 6, 3", ".byte 255, 3", "alternatives: record 0, site ", "a site of more than 254 bytes"),
    (".long labelled - .,", ".long alt3 - .,", "jump_labels: record 0, site ", "a jump label on something else"),
    (".long labelled - .,", ".long pv1 + 2 - .,", "jump_labels: record 0, site ", "a jump label on something else"),
    (".long labelled2 - .,", ".long called - .,", "jump_labels: record 1, site ", "a jump label on something else"),
    (
        "__SCK__hook - . # call",
        "__SCK__hook - . + 1",
        "static_calls: record 0, site ",
        "a static tail call on something else",
    ),
    (
        "__SCK__hook - . + 1 # jmp",
        "__SCK__hook - .",
        "static_calls: record 1, site ",
        "a static call on something else",
    ),
    (".long called - ., __SCK__", ".long labelled2 - ., __SCK__", "static_calls: record 0, site ", "a static call on"),
    (".quad start_kernel, f2", ".quad start_kernel, f3", "ftrace: record 1, site ", "no call of __fentry__"),
    ("retp: call __x86_indirect_thunk_rax", "retp: call __x86_indirect_thunk_rsp", "retpolines: record 0", "to rsp"),
]


@pytest.mark.parametrize(("old", "new", "place", "why"), REFUSED)
def test_what_linux_stops_at(old: str, new: str, place: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(PredictionError) as error:
        predicted(changed(old, new), tmp_path)
    assert place in str(error.value)
    assert why in str(error.value)


STAYS = [
    (".long locked - .,", ".long start_kernel - .,", "start_kernel"),  # a lock prefix that is none
    (".long retq_ - .", ".long called - .", "retq_"),  # no jump to the return thunk
    (".long retp - .", ".long alt3 - .", "retp"),  # no branch to an indirect thunk
    (".quad start_kernel, f2", ".quad start_kernel, 0, f2", "labelled"),  # padding
]


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize(("old", "new", "symbol"), STAYS)
def test_what_linux_passes_over(old: str, new: str, symbol: str, cpus: int, tmp_path: Path) -> None:
    source = changed(old, new)
    text = predicted(source, tmp_path, cpus)
    image = open_kernel(tmp_path / "kernel")
    address = image.symbols.address(symbol)
    assert address is not None
    before = image.read(address, 5)
    if symbol == "start_kernel":  # it is a call of __fentry__, too, which becomes a nop: not a lock prefix before it
        before = bytes.fromhex("0f 1f 44 00 00")
    assert text[address - TEXT : address - TEXT + 5] == before


@pytest.mark.parametrize(
    ("condition", "key", "code"),
    [("0x85", "function", "0f 85 {to}"), ("0x8f", "other", "0f 8f {to}"), ("0x84", "0", "0f 84 {to}")],
)
def test_a_conditional_tail_call_keeps_its_condition(condition: str, key: str, code: str, tmp_path: Path) -> None:
    source = changed(
        ".byte 0xe9; .long __SCT__hook - . - 4 # tail", f".byte 0x0f, {condition}; .long __SCT__hook - . - 4"
    )
    source = source.replace("__SCK__hook: .quad function", f"__SCK__hook: .quad {key}")
    text = predicted(source, tmp_path)
    image = open_kernel(tmp_path / "kernel")
    site, target = (image.symbols.address(name) for name in ("called2", {"0": "__static_call_return"}.get(key, key)))
    assert site is not None
    assert target is not None
    distance = (target - site - 6).to_bytes(4, "little", signed=True).hex(" ")
    assert text[site - TEXT : site - TEXT + 6].hex(" ") == code.format(to=distance)
