"""What a case does not bind is somewhere of its own: code for another symbol or op is another outcome."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import Findings
from pvspec.spectest import run_cases
from pvspec.spectest.binding import bind_case
from pvspec.spectest.subject import Subject

SPEC = """
machine pc {{ bits 32  nops p6 {{ "90"  "66 90" }} jumps   choose nops p6 }}
interface ops {{ functions fns  table "t" {{ addr u32 type u8 len u8 clobber u16 }}
    registers {{ eax 1 }}  op first 3  op second 4  op third 5  op fourth 6 }}
backend b for ops {{
    symbol g, h
    first = call target clobbers any when target of second is null else call g clobbers any
    third, fourth = call target clobbers any
    otherwise = keep
}}
family f {{ table "f" {{ site u32 }}  len 5  symbol g, h  jmp h }}
passes {{ ops, f }}
test {name} {{ {case} }}
"""


@pytest.mark.parametrize(
    ("name", "case", "passes"),
    [
        ("f", 'at 0x1000 => asm "jmp h"', True),
        ("f", 'at 0x1000 => asm "jmp g"', False),
        ("f", "at 0x1000 with h = 0x2000 => jmp 0x2000", True),
        ("f", "at 0x1000 with g = 0x2000 => jmp 0x2000", False),
        ("b", "first at 0x1000 len 5 with first = 0x2000, second = 0 => call 0x2000", True),
        ("b", "first at 0x1000 len 5 with first = 0x2000 => call 0x2000", False),
        ("b", 'first at 0x1000 len 6 => asm "call g" nops', True),
        ("b", "first at 0x1000 len 5 clobbers none => keep", True),
        ("b", "first at 0x1000 len 5 => keep", False),
        *(("b", f'first at 0x1000 len {5 + rest} => asm "call g" nops', True) for rest in (2, 3, 129, 130, 131)),
        ("b", "third at 0x1000 len 5 => call 0xcf802000", True),  # its own, which the next one does not share
        ("b", "fourth at 0x1000 len 5 => call 0xcf803000", True),
        ("b", "fourth at 0x1000 len 5 => call 0xcf802000", False),
        ("b", 'first at 0x1000 original "90 90" => "90 90"', True),
        ("b", 'first at 0x1000 original "90 90" => "66 90"', False),
        ("b", 'first at 0x1000 len 2 => "cc cc"', True),
    ],
)
def test_a_case_passes_or_fails(tmp_path: Path, name: str, case: str, passes: bool) -> None:
    path = tmp_path / "binding.pvs"
    path.write_text(SPEC.format(name=name, case=case), encoding="utf-8")
    program = check_spec(path).sound()
    (result,) = run_cases(program.spec, lower(program).spec)
    assert result.passed == passes, result.diagnostics
    assert [finding.code for finding in result.diagnostics] == ([] if passes else ["PV501"])


def test_the_table_of_functions_is_bound(tmp_path: Path) -> None:
    path = tmp_path / "binding.pvs"
    for case, address in (("", 0xCFFFE000), ("with fns = 0x1230 ", 0x1230)):
        path.write_text(SPEC.format(name="f", case=f'at 0x1000 {case}=> asm "jmp h"'), encoding="utf-8")
        spec = check_spec(path).sound().spec
        (test,) = spec.tests
        assert bind_case(Subject("f", test.cases[0], spec, Findings())).symbols["fns"] == address


def test_code_where_an_error_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "binding.pvs"
    path.write_text(SPEC.format(name="f", case='at 0x1000 => bug "any"'), encoding="utf-8")
    program = check_spec(path).sound()
    (result,) = run_cases(program.spec, lower(program).spec)
    assert "expected an error, got code" in result.diagnostics[0].message
