"""The CPU of a case: what it is where the case does not say, and the nops that a kernel takes for it."""

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
family padding on pc {{ table "padding" {{ site u32 }}  len 2  nop }}
family numbers on pc {{
    table "numbers" {{ site u32 }}
    len 2

    bytes "0f 01"  when cpu microcode >= 7
    bytes "0f 02"  when cpu threads == 2
    bytes "0f 03"  when cpu threads == 1
}}
passes {{ padding, numbers }}
test {name} {{ at 0x1000 {settings} => "{code}" }}
"""


@pytest.mark.parametrize(
    ("name", "settings", "code"),
    [
        ("padding", "", "90 90"),  # the last choice, which is made where nothing is known of the CPU
        ("padding", "with nops = double", "66 90"),
        ("padding", "with cpu vendor = intel", "66 90"),
        ("padding", "with cpu vendor = amd", "90 90"),
        ("numbers", "with cpu vendor = amd", "0f 03"),  # one thread
        ("numbers", "with cpu vendor = amd, cpu threads = 2", "0f 02"),
        ("numbers", "with cpu vendor = amd, cpu microcode = 7", "0f 01"),
        ("numbers", "with cpu vendor = amd, cpu microcode = 6", "0f 03"),
    ],
)
def test_a_case_has_this_cpu(tmp_path: Path, name: str, settings: str, code: str) -> None:
    path = tmp_path / "cpu.pvs"
    path.write_text(SPEC.format(name=name, settings=settings, code=code), encoding="utf-8")
    program = check_spec(path).sound()
    (result,) = run_cases(program.spec, lower(program).spec)
    assert result.passed, result.diagnostics
