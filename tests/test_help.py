"""Help that is followed gives a spec that checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import Diagnostic
from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.encodings import REFUSED

BASE = """
machine m {{
    bits 32
    nops n {{ "90" "66 90" "0f 1f 00" "0f 1f 40 00" "0f 1f 44 00 00" }}
    choose nops n
}}
interface i {{
    table ".t" {{ addr u32  type u8  len u8  clobber u16 }}
    max_len 254
    registers {{ eax 1  ecx 2  edx 4 }}
    symbol known
    op a 1 {contract}
    {means}
}}
{chains}
backend b for i {{
    {rules}
}}
"""


def findings(tmp_path: Path, **parts: str) -> list[Diagnostic]:
    path = tmp_path / "spec.pvs"
    empty = dict.fromkeys(("contract", "means", "chains"), "")
    path.write_text(BASE.format(**{**empty, "rules": "otherwise = keep", **parts}))
    return list(check_spec(path).diagnostics)


@pytest.mark.parametrize(
    ("wrong", "help", "followed"),
    [
        (
            {"rules": 'a = asm "mov eax, 0"'},
            "declare it: `clobbers eax`",
            {"rules": 'a = asm "mov eax, 0" clobbers eax else keep'},
        ),
        (
            {"rules": 'a = asm "mov ebx, 0"'},
            "declare it: `clobbers ebx` in the contract of `a`",
            {"rules": 'a = asm "mov ebx, 0"', "contract": "clobbers ebx"},
        ),
        (
            {"rules": 'a = asm "mov eax, 0; mov esi, 1"'},
            "declare it: `clobbers esi` in the contract of `a`",
            {"rules": 'a = asm "mov eax, 0; mov esi, 1" clobbers eax', "contract": "clobbers esi"},
        ),
        (
            {"means": 'means a: asm "mov eax, 0"'},
            "declare it: `clobbers eax` in the contract of `a`",
            {"means": 'means a: asm "mov eax, 0"', "contract": "clobbers eax"},
        ),
        (
            {"rules": 'a = asm "cli"'},
            "declare it: `-> interrupt_flag`",
            {"rules": 'a = asm "cli"', "contract": "-> interrupt_flag"},
        ),
        (
            {"rules": 'a = asm "lea eax, [ebx + 1]" clobbers eax'},
            "declare it: `(ebx)` among the inputs of `a`, or write it first",
            {"rules": 'a = asm "lea eax, [ebx + 1]" clobbers eax', "contract": "(ebx)"},
        ),
        ({"rules": ""}, "add `otherwise = keep`", {"rules": "otherwise = keep"}),
        (
            {"rules": "", "chains": "chain default { keep }"},
            "add `otherwise = default`, or `otherwise = keep`",
            {"rules": "otherwise = default", "chains": "chain default { keep }"},
        ),
        (
            {"rules": 'a = asm "mov eax, state" clobbers eax'},
            "declare it as a symbol; then `offset state` is its address, `[state]` what is there",
            {"rules": 'symbol state a = asm "mov eax, offset state; mov eax, [state]" clobbers eax'},
        ),
        (
            {"rules": 'a = asm "call there" clobbers any'},
            "declare it as a symbol",
            {"rules": 'symbol there a = asm "call there" clobbers any'},
        ),
        (
            {"rules": 'a = asm "movl $known, %eax" clobbers eax'},
            "write `mov eax, offset known`",
            {"rules": 'a = asm "mov eax, offset known" clobbers eax'},
        ),
        (
            {"rules": 'a = asm "mov eax, $known" clobbers eax'},
            "that is AT&T syntax: write `offset known`",
            {"rules": 'a = asm "mov eax, offset known" clobbers eax'},
        ),
    ],
)
def test_what_help_says_is_right(tmp_path: Path, wrong: dict[str, str], help: str, followed: dict[str, str]) -> None:
    assert help in [finding.help for finding in findings(tmp_path, **wrong)]
    assert findings(tmp_path, **followed) == []


@pytest.mark.parametrize("code", ["push [esp]; pop eax", "movd eax, xmm0", "movd xmm0, eax", "mov eax, 5 + $1"])
def test_no_help_names_what_no_contract_can_say(tmp_path: Path, code: str) -> None:
    found = findings(tmp_path, rules=f'a = asm "{code}" clobbers eax', contract="(eax)")
    assert found
    for finding in found:
        for declared in re.findall(r"`\((.*?)\)`|clobber\w+ ([\w, ]+)`", finding.help or ""):
            assert set("".join(declared).split(", ")) <= {"eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "flags"}
        assert "symbol" not in (finding.help or "")


@pytest.mark.parametrize(("bits", "mnemonic"), [(bits, name) for bits in REFUSED for name in REFUSED[bits]])
def test_the_mnemonics_that_are_proposed_assemble(bits: int, mnemonic: str) -> None:
    for other in re.findall(r"\b(?!or\b|for\b|a\b|bit\b|frame\b)[a-z]{3,}\b", REFUSED[bits][mnemonic] or ""):
        assert any(assembles(f"{other} {operand}", bits) for operand in ("", "ax", "word ptr [eax]", "[eax]"))


def assembles(statement: str, bits: int) -> bool:
    try:
        return bool(assemble(statement, bits, ()).data)
    except AsmErrors:
        return False


@pytest.mark.parametrize(
    ("bits", "statement"),
    [
        (32, "mov [ebx], 1"),
        (32, "movzx eax, [ebx]"),
        (64, "movzx rax, [rbx]"),
        (64, "movsx ax, [rbx]"),
        (32, "inc [ebx]"),
        (32, "shl [ebx], cl"),
        (64, "movsxd rax, [rbx]"),
        (64, "cvtsi2sd xmm0, [rbx]"),
    ],
)
def test_each_size_that_is_proposed_assembles(bits: int, statement: str) -> None:
    with pytest.raises(AsmErrors) as raised:
        assemble(statement, bits, ())
    sizes = re.findall(r"`(\w+ ptr) \[…\]`", raised.value.errors[0].help or "")
    assert sizes
    for size in sizes:
        assert assemble(statement.replace("[", f"{size} ["), bits, ()).data
