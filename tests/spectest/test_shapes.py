"""Whatever a spec is made of, a case of it passes, fails, or is found to lack something: it never raises."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.lang import diagnostics, model
from pvspec.lang.diagnostics import render
from pvspec.spectest import run_cases

MACHINE = """
machine m {{
    bits {bits}
    feature SMAP 1
    feature TOLD
    nops p6 {{ "90"  "66 90" }} {jumps}
    choose nops p6
}}
decide decisions in "x.c" {{
    set SMAP   when vulnerability meltdown starts "Mitigation"
    clear TOLD when not kernel has pti_init and cpu family == 6 and cpus == 1
}}
"""
PARTS = "registers { eax 1 } symbol f, g protect poke op halt 3 (eax) clobbers any len 6 op cli 4 -> eax"
INTERFACES = {
    "none": "",
    "table": f'interface ops {{ table "t" {{ addr u32 type u8 len u8 clobber u16 }} {PARTS} }}',
    "no clobbers": 'interface ops { table "t" { addr u32 type u8 len u8 } symbol f op halt 3 len 6 op cli 4 }',
    "functions": f'interface ops {{ functions pv_ops slot "ff 15" u32 {PARTS} }}',
    "no slot": f"interface ops {{ functions pv_ops max_len 6 {PARTS} }}",
    "both": f'interface ops {{ table "t" padded {{ addr u32 type u8 len u8 clobber u8 }} functions f {PARTS} }}',
}
BACKENDS = """
backend b for ops { otherwise = default }
backend asks for ops {
    rom ask(n u8) { returns { where u32 type u8 }  0 none = keep  1 to = call where  otherwise = bug "no" }
    targets elsewhere_ops { halt .. cli }
    target cli = null when cpu has SMAP
    symbol elsewhere_ops
    halt = ask(1) else nop when cpus == 1
    otherwise = default
}
"""
FAMILIES = {
    "field": 'table "f" { site u32 to u32 len u8 }  bytes "c3" when cpu has to  jmp to',
    "fixed": 'table "f" { site rel32 to rel32 } len 5  stacked  jmp to',
    "decoded": 'table "f" { site u32 to u32 } len instruction  symbol g  nop when site is call g  copy to 2',
    "pattern": 'sites "x_*" { to "y_*" }  len 5  bug "null" when to is null  jmp to',
    "reads": 'table "f" { site u32 to u32 } reads v s32 at to  len 4  protect poke  store v when v > 0',
    "branch": 'table "f" { to u32 } reads v branch at to  site v - 2  len 2  nop when v - 1 begins "90"',
    "elsewhere": 'table "f" { site u32 to u32 } reads v u8 at elsewhere  len 5  call elsewhere when not v',
    "longest": 'table "f" { site u32 to u32 len u8 } stacked longest nops relaid throughout  copy to 3 relocated',
    "calls": 'table "f" { site u32 to u32 } len 6  nop when target is null  call target',
    "unplaced": 'table "f" { to u32 size u32 } site to + 4294967295  len 1  copy to size',
}
SITES = [
    "at 0xc0101000",
    "at 0xc0101000 len 0",
    "at 0xc0101000 len 5",
    "at 0xc0101000 len 6 clobbers any",
    "at 0xc0101000 len 6 clobbers nothing",
    "at 0xc0101000 len 65536",
    "at 0xc0101000 len 300",
    'at 0xc0101000 original ""',
    'at 0xc0101000 original "9"',
    'at 0xc0101000 original "zz" len 1',
    'at 0xc0101000 original "66 90" len 3',
    'at 0xc0101000 original "e8 fb 0f 00 00"',
    'at 0xc0101000 original "0f 04 90 90 90"',
    'at 0xc0101000 original "ff 15 0c 00 00 c0" to 0xc0200000',
    'at 0xc0101000 original "90 90" to "e8 f0 ff ff ff" at 0xc0101009',
    'at 0xc0101000 len 4 to "01 00 00 00" at 0xc0102000 memory "90" at 0xc0100fff',
    'at 0xc0101000 len 4 to "01" at 0xc0101002 memory "" at 0xcfffffff',
    "at 0xc0101000 len 5 to SMAP",
    "at 0xc0101000 len 5 to WHAT what 1",
    "at 0xc0101000 len 5 to 0xfffffffff",
    "at 0 len 5",
    "at 0xfffffffe len 5",
    "at 0xffffffffffffffff len 5",
    "at 0x8000000000000000 len 5",
    'at 0xc0101000 len 5 memory "90" at 0',
    'at 0xc0101000 len 5 memory "90" at 0xfffffffffffffff0',
]
SETTINGS = [
    "",
    "with halt = 0xc0200000, pv_ops = 0xc0000000",
    "with f = 0x8000000000000000, cli = 0",
    'with g = 0xc0102000, cpu has SMAP, cpus = 1, cmdline = "x"',
    "with cpu vendor = intel, cpu family = 6, cpus = 0",
    'with cpu vendor = intel, vulnerability meltdown = "Mitigation: PTI", pti_init = 1',
    "with cpu family = 6",
    "with nops = p6, backend = asks, elsewhere_ops = 0xc0300000",
    "with ask(1) = to 0xc0200000",
    "with ask(1) = 300 0xffffffffffff",
    "with ask(1) = nonesuch, asked(1) = 1",
    "with poke = 0xc0101000 .. 0xc0101004",
    "with poke = 5 .. 4, nonesuch = true",
    "with nonesuch = 1",
    "with nonesuch = 1 .. 2",
    'with vulnerability nonesuch = ""',
    "with nops = nonesuch",
    "with backend = nonesuch",
    "with cpu vendor = nonesuch",
    "with cpu has nonesuch",
]
OUTCOMES = [
    "=> keep",
    "=> nops",
    "=> call 0xc0200000 nops",
    "=> jmp 0 nops jmp 1",
    '=> "90" keep',
    '=> "9"',
    '=> bug "no"',
    '=> asm "call f" nops',
    '=> asm "call nonesuch; mov"',
]
TABLE = 'table "f"'
FINDINGS = {"PV101", "PV102", "PV202", "PV205", "PV305", "PV401", "PV409", "PV501", "PV502"}
"""What may be wrong with a case, before it is run or by its run."""
OPS = ["", "halt ", "cli ", "nonesuch "]


def blocks(name: str) -> str:
    """Each kind of site with each setting and each outcome, not all with all."""
    pairs = [
        *product(SITES, SETTINGS[:1], OUTCOMES[:3]),
        *product(SITES[2:4], SETTINGS, OUTCOMES[:2]),
        *product(SITES[2:3], SETTINGS[:1], OUTCOMES),
    ]
    cases = [f"    {op}{site} {setting} {want}" for (site, setting, want) in pairs for op in OPS]
    return "\n".join([f"test {name} {{", *cases, "}"])


def sound(spec: model.Spec, wrong: set[int]) -> model.Spec:
    """The cases that are not on the lines where something is wrong; a spec with such is not run at all."""
    tests = (test.changed(cases=tuple(c for c in test.cases if c.span.line not in wrong)) for test in spec.tests)
    return spec.changed(tests=tuple(tests))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("interface", INTERFACES)
def test_no_case_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interface: str, bits: int) -> None:
    """Families without an interface, then backends of each kind, and the family whose sites call through one."""
    monkeypatch.setattr(diagnostics, "MAX_REPORTED", 100_000)
    texts = [MACHINE.format(bits=bits, jumps="jumps" if bits == 64 else "")]
    calls = "functions" in INTERFACES[interface]
    bodies = {name: body for name, body in FAMILIES.items() if (name == "calls") == (interface != "none")}
    names = [name for name in bodies if name != "calls" or calls]
    texts += [f"family {name} {{ {bodies[name]} }}".replace(TABLE, f'table ".{name}"') for name in names]
    if interface != "none":
        texts += ["chain default { call target }", INTERFACES[interface], BACKENDS]
        names += ["b", "asks"]
    text = "\n".join([*texts, *map(blocks, names)])
    path = tmp_path / "shapes.pvs"
    path.write_text(text.replace("eax", "rax") if bits == 64 else text, encoding="utf-8")
    checked = check_spec(path)
    assert checked.program is not None
    lines = {finding.labels[0].span.line for finding in checked.diagnostics}
    results = list(run_cases(sound(checked.program.spec, lines), lower(checked.program).spec))
    found = [*checked.diagnostics, *(finding for result in results for finding in result.diagnostics)]
    odd = [render(finding) for finding in found if finding.code not in FINDINGS or not finding.labels]
    assert odd == []
    assert sum(result.passed for result in results) > 5
    assert {finding.code for finding in found} >= {"PV501", "PV502"}
