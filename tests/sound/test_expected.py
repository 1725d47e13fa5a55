"""Expected code: how far its branches reach, and how long it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec

SPEC = """
machine pc {{ bits {bits}  nops p6 {{ "90" }}  choose nops p6 }}
family f {{ table "f" {{ site u{bits} to u{bits} }}  len {length}  jmp to }}
passes {{ f }}
test f {{ at {at} to {to} => {outcome} }}
"""
FAR = 0x80000000


@pytest.mark.parametrize(
    ("bits", "at", "to", "codes"),
    [
        (32, 0x1000, 0xF0000000, []),
        (32, 0xF0000000, 0x1000, []),
        (64, 0x1000, 0x1005 + FAR - 1, []),
        (64, 0x1000, 0x1005 + FAR, ["PV409"]),
        (64, FAR, 5, []),
        (64, FAR, 4, ["PV409"]),
    ],
)
def test_how_far_a_branch_reaches(tmp_path: Path, bits: int, at: int, to: int, codes: list[str]) -> None:
    path = tmp_path / "expected.pvs"
    path.write_text(SPEC.format(bits=bits, length=5, at=at, to=to, outcome=f"jmp {to}"), encoding="utf-8")
    assert [finding.code for finding in check_spec(path).diagnostics] == codes


@pytest.mark.parametrize(
    ("length", "outcome", "codes"),
    [
        (7, "jmp 0x2000 nops", []),
        (7, "jmp 0x2000", ["PV502"]),
        (7, 'jmp 0x2000 "90 90"', []),
        (7, 'jmp 0x2000 "90" asm "nop"', []),
        (7, 'jmp 0x2000 jmp 0x2000', ["PV502"]),
        (5, "jmp 0x2000 nops", []),
    ],
)  # fmt: skip
def test_how_long_expected_code_is(tmp_path: Path, length: int, outcome: str, codes: list[str]) -> None:
    path = tmp_path / "expected.pvs"
    path.write_text(SPEC.format(bits=32, length=length, at=0x1000, to=0x2000, outcome=outcome), encoding="utf-8")
    assert [finding.code for finding in check_spec(path).diagnostics] == codes
