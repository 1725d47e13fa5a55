"""Which nops a case gets that names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.spectest import run_cases

SPEC = """
machine pc {{
    bits 32
    nops single {{ "90" }}
    nops double {{ "90"  "66 90" }}
    choose nops double when cpu vendor is intel else single
}}
family f on pc {{ table "f" {{ site u32 }}  len 2  nop }}
passes {{ f }}
test f {{ at 0x1000 {settings} => "{code}" }}
"""


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ("", "90 90"),  # the last choice, which is made where nothing is known of the CPU
        ("with nops = double", "66 90"),
        ("with cpu vendor = intel", "66 90"),
        ("with cpu vendor = amd", "90 90"),
    ],
)
def test_without_a_cpu_the_last_choice_counts(tmp_path: Path, settings: str, code: str) -> None:
    path = tmp_path / "nops.pvs"
    path.write_text(SPEC.format(settings=settings, code=code), encoding="utf-8")
    program = check_spec(path).sound()
    (result,) = run_cases(program.spec, lower(program).spec)
    assert result.passed, result.diagnostics
