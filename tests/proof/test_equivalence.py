"""Emitters against meanings: the shipped specs hold, and whatever is broken in them is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.assemble import Program
from pvspec.compiler import check_spec
from pvspec.proof import EMULATED, PROVEN, UNPROVEN, Proof, prove
from pvspec.resources import resource

OLD, NEW = resource("specs", "linux-2.6.23", "i386"), resource("specs", "linux-6.1", "x86_64")
Spec = Callable[..., Program]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Make a program of a text that may include shipped files, of which some are changed."""

    def make(text: str, of: Path = OLD, changes: dict[str, tuple[str, str]] | None = None) -> Program:
        for file in of.glob("*.pvs"):
            old, new = (changes or {}).get(file.name, ("", ""))
            content = file.read_text(encoding="utf-8").partition("\ntest ")[0] + "\n"
            assert old in content
            tmp_path.joinpath(file.name).write_text(content.replace(old, new, 1), encoding="utf-8")
        tmp_path.joinpath("case.pvs").write_text(text, encoding="utf-8")
        return check_spec(tmp_path / "case.pvs").sound()

    return make


def verdicts(proof: Proof, backend: str) -> dict[str, str]:
    return {cell.op.name: cell.kind for cell in proof.cells[backend]}


def codes(proof: Proof) -> list[str]:
    return [diagnostic.code for diagnostic in proof.diagnostics]


@pytest.mark.parametrize("path", sorted({path.parent for path in resource("specs").rglob("*.pvs")}), ids=str)
def test_shipped_specs_are_proven(path: Path) -> None:
    assert prove(check_spec(path).sound()).diagnostics == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "broken"),
    [
        ("native.pvs", 'asm "cli"', 'asm "sti"', "irq_disable"),
        ("native.pvs", 'asm "cli"', 'asm "nop"', "irq_disable"),
        ("native.pvs", 'asm "pushfd; pop eax"', 'asm "xor eax, eax"', "save_fl"),
        ("native.pvs", 'asm "push eax; popfd"', 'asm "push eax; pop eax"', "restore_fl"),
        ("native.pvs", 'asm "mov eax, cr2"', 'asm "mov eax, cr3"', "read_cr2"),
        ("native.pvs", 'asm "clts"', 'asm "nop"', "clts"),
        ("native.pvs", "make_pmd = nop", 'make_pmd = asm "xchg eax, edx"', "make_pte"),
        ("lguest.pvs", "[irq_enabled], 0x200", "[irq_enabled], 0x100", "irq_enable"),
        ("lguest.pvs", "mov dword ptr [irq_enabled], 0 ", "mov word ptr [irq_enabled + 1], 0 ", "irq_disable"),
        ("lguest.pvs", "mov [irq_enabled], eax", "mov [irq_enabled], al", "restore_fl"),
        ("lguest.pvs", "& 0x200", "& 0x400", "irq_enable"),
        ("xen.pvs", "byte ptr fs:[vcpu_info + 1], 1", "byte ptr fs:[vcpu_info + 1], 0", "irq_disable"),
        ("xen.pvs", "mov byte ptr fs:[vcpu_info + 1], 1", "mov byte ptr [vcpu_info + 1], 1", "irq_disable"),
        ("xen.pvs", "mov byte ptr [vcpu_info + 1], 1", "mov word ptr [vcpu_info + 1], 1", "irq_disable"),
        ("xen.pvs", "fs:[vcpu_info], 0xff ", "fs:[vcpu_info], 0xff00 ", "irq_enable"),
        ("xen.pvs", "setz ah", "setnz ah", "save_fl"),
        ("xen.pvs", "add  ah, ah", "add  ah, 1", "save_fl"),
        ("xen.pvs", "test ah, 2", "test ah, 4", "restore_fl"),
        ("xen.pvs", "setz byte ptr fs:[vcpu_info + 1]", "setz byte ptr fs:[vcpu_info]", "restore_fl"),
    ],
)
def test_what_is_broken_is_seen(spec: Spec, file: str, old: str, new: str, broken: str) -> None:
    proof = prove(spec(f'include "{file}"', changes={file: (old, new)}))
    assert "PV602" in codes(proof)
    assert f"code for `{broken}` does not do what the op means" in {d.message for d in proof.diagnostics}


def test_backends_keep_the_interrupt_flag_where_they_say(spec: Spec) -> None:
    proof = prove(spec('include "xen.pvs"'))
    found = verdicts(proof, "xen")
    assert {found[name] for name in ("save_fl", "restore_fl", "irq_disable", "irq_enable")} == {EMULATED}
    unsaid = spec('include "xen.pvs"', changes={"xen.pvs": ("    keeps", "    # keeps")})
    assert "PV602" in codes(prove(unsaid))


def test_a_called_function_is_an_assumption(spec: Spec) -> None:
    cells = {cell.op.name: cell for cell in prove(spec('include "xen.pvs"')).cells["xen"]}
    assert any("check_events" in text for verdict in cells["irq_enable"].verdicts for text in verdict.assumes)
    assert not any("check_events" in text for verdict in cells["save_fl"].verdicts for text in verdict.assumes)


INLINE = """
include "paravirt.pvs"
backend inline for pv_ops {
    read_cr2           = asm "mov rax, cr2"
    read_cr3           = asm "mov rax, cr3"
    write_cr3          = asm "mov cr3, rdi"
    save_fl            = asm "pushfq; pop rax"
    irq_disable        = asm "cli"
    irq_enable         = asm "sti"
    pte_val, make_pte  = asm "mov rax, rdi"
    queued_spin_unlock = asm "and byte ptr [rdi], 0"
    write_cr0          = asm "mov cr0, rdi"
    wbinvd             = asm "wbinvd"
    otherwise          = default
}
"""


def test_the_inline_code_of_a_later_kernel(spec: Spec) -> None:
    """What Linux 6.1 writes over paravirt calls where there is no hypervisor (PVOP_ALT_* in asm/paravirt.h)."""
    proof = prove(spec(INLINE, NEW))
    found = verdicts(proof, "inline")
    emulated = ("read_cr2", "read_cr3", "write_cr3", "save_fl", "irq_disable", "irq_enable", "pte_val", "make_pte")
    assert {found[name] for name in emulated} == {EMULATED}
    assert found["queued_spin_unlock"] == EMULATED
    assert found["read_cr0"] == PROVEN
    assert codes(proof) == []


def test_what_the_emulator_cannot_judge_is_named(spec: Spec) -> None:
    cells = {cell.op.name: cell for cell in prove(spec(INLINE, NEW)).cells["inline"]}
    assert cells["write_cr0"].kind == cells["wbinvd"].kind == UNPROVEN
    assert [verdict.why for verdict in cells["write_cr0"].verdicts] == [
        "`mov cr0, rdi` asks for another mode of the CPU"
    ]
    assert [verdict.why for verdict in cells["wbinvd"].verdicts] == ["no meaning is stated"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('asm "mov rax, cr2"', 'asm "mov rax, cr2; mov eax, eax; lea rax, [rax + 1]"'),
        ('asm "pushfq; pop rax"', 'asm "xor eax, eax"'),
        ('asm "mov rax, rdi"', 'asm "mov eax, edi"'),
        ('"and byte ptr [rdi], 0"', '"and word ptr [rdi], 0"'),
        ('"and byte ptr [rdi], 0"', '"and byte ptr [rdi], 1"'),
        ('"cli"', '"sti"'),
    ],
)
def test_broken_inline_code_is_seen(spec: Spec, old: str, new: str) -> None:
    assert "PV602" in codes(prove(spec(INLINE.replace(old, new), NEW)))


@pytest.mark.parametrize("nop", ["8d 76 01", "89 f7", "87 c0 40", "f5", "9c 9d f8", "50", "cc", "0f 0b", "eb fe"])
def test_a_nop_that_does_something_is_seen(spec: Spec, nop: str) -> None:
    size = len(bytes.fromhex(nop))
    nops = " ".join(f'"{"90 " * count}"' for count in range(1, size)) + f' "{nop}"'
    proof = prove(spec(f"machine i386 {{ bits 32 nops n {{ {nops} }} choose nops n }}"))
    assert codes(proof) == ["PV603"]
