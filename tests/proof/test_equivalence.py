"""Emitters against meanings: the shipped specs hold, and whatever is broken in them is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.compiler.assemble import Program
from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import Findings
from pvspec.proof import EMULATED, PROVEN, UNPROVEN, Cell, prove_program
from pvspec.proof.verdicts import Prover

from ..shipped import KERNELS, Kernel

OLD = KERNELS[0]
NEW = next(kernel for kernel in KERNELS if (kernel.kernel, kernel.machine) == ("6.1", "x86_64"))
Spec = Callable[..., Program]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Make a program of a text that may include shipped files, of which some are changed."""

    def make(text: str, of: Kernel = OLD, changes: dict[str, tuple[str, str]] | None = None) -> Program:
        for file in of.spec.glob("*.pvs"):
            old, new = (changes or {}).get(file.name, ("", ""))
            content = file.read_text(encoding="utf-8").partition("\ntest ")[0] + "\n"
            assert old in content
            tmp_path.joinpath(file.name).write_text(content.replace(old, new, 1), encoding="utf-8")
        tmp_path.joinpath("case.pvs").write_text(text, encoding="utf-8")
        return check_spec(tmp_path / "case.pvs", kernel=of.kernel, machine=of.machine).sound()

    return make


def judged(program: Program, backend: str, *ops: str) -> tuple[dict[str, Cell], list[str]]:
    """What is known of these ops, and the messages about them."""
    findings, interface = Findings(), program.spec.interface
    assert interface is not None
    prover = Prover(program, findings)
    cells = {op: prover.cell(interface.ops[op], program.spec.backends[backend]) for op in ops}
    return cells, [f"{d.code} {d.message}" for d in findings.found]


def missed(op: str) -> str:
    return f"PV602 code for `{op}` does not do what the op means"


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_shipped_specs_are_proven(kernel: Kernel) -> None:
    assert prove_program(kernel.program).diagnostics == ()


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
        ("lguest.pvs", '[irq_enabled], 0"', '[irq_enabled + 2], 0"', "irq_disable"),
        ("lguest.pvs", "mov [irq_enabled], eax", "mov [irq_enabled], al", "restore_fl"),
        ("lguest.pvs", "& 0x200", "& 0x400", "irq_enable"),
        ("xen.pvs", "byte ptr fs:[vcpu_info + 1], 1", "byte ptr fs:[vcpu_info + 1], 0", "irq_disable"),
        ("xen.pvs", "mov byte ptr fs:[vcpu_info + 1], 1", "mov byte ptr [vcpu_info + 1], 1", "irq_disable"),
        ("xen.pvs", "mov byte ptr [vcpu_info + 1], 1", "mov word ptr [vcpu_info + 1], 1", "irq_disable"),
        ("xen.pvs", "fs:[vcpu_info], 0xff ", "fs:[vcpu_info], 0xff00 ", "irq_enable"),
        ("xen.pvs", "setz ah", "setnz ah", "save_fl"),
        ("xen.pvs", "add  ah, ah", "add  ah, 2", "save_fl"),
        ("xen.pvs", "test ah, 2", "test ah, 4", "restore_fl"),
        ("xen.pvs", "setz byte ptr fs:[vcpu_info + 1]", "setz byte ptr fs:[vcpu_info]", "restore_fl"),
    ],
)
def test_what_is_broken_is_seen(spec: Spec, file: str, old: str, new: str, broken: str) -> None:
    program = spec(f'include "{file}"', changes={file: (old, new)})
    _, messages = judged(program, file.removesuffix(".pvs"), broken)
    assert missed(broken) in messages


def test_backends_keep_the_interrupt_flag_where_they_say(spec: Spec) -> None:
    found, messages = judged(spec('include "xen.pvs"'), "xen", "save_fl", "irq_disable")
    assert ({cell.kind for cell in found.values()}, messages) == ({EMULATED}, [])
    unsaid = spec('include "xen.pvs"', changes={"xen.pvs": ("    keeps", "    # keeps")})
    _, messages = judged(unsaid, "xen", "irq_disable")
    assert messages == [missed("irq_disable")]


def test_a_called_function_is_an_assumption(spec: Spec) -> None:
    cells, _ = judged(spec('include "xen.pvs"'), "xen", "irq_enable", "save_fl")
    assert any("check_events" in text for verdict in cells["irq_enable"].verdicts for text in verdict.assumes)
    assert not any("check_events" in text for verdict in cells["save_fl"].verdicts for text in verdict.assumes)


@pytest.mark.parametrize(("code", "messages"), [("xor al, al", []), ("mov al, 1", [missed("vcpu_is_preempted")])])
def test_of_a_result_only_the_promised_part_counts(spec: Spec, code: str, messages: list[str]) -> None:
    backend = f'backend b for pv_ops {{ vcpu_is_preempted = asm "{code}" otherwise = default }}'
    meaning = ("    means read_cr0 ", '    means vcpu_is_preempted : asm "xor eax, eax"\n    means read_cr0 ')
    program = spec(f'include "paravirt.pvs"\n{backend}', NEW, {"paravirt.pvs": meaning})
    assert judged(program, "b", "vcpu_is_preempted")[1] == messages


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
    emulated = ("read_cr2", "read_cr3", "write_cr3", "save_fl", "irq_disable", "irq_enable", "pte_val")
    found, messages = judged(spec(INLINE, NEW), "inline", *emulated, "queued_spin_unlock", "read_cr0")
    assert {name for name, cell in found.items() if cell.kind == EMULATED} == {*emulated, "queued_spin_unlock"}
    assert found["read_cr0"].kind == PROVEN
    assert messages == []


def test_what_the_emulator_cannot_judge_is_named(spec: Spec) -> None:
    cells, _ = judged(spec(INLINE, NEW), "inline", "write_cr0", "wbinvd")
    assert cells["write_cr0"].kind == cells["wbinvd"].kind == UNPROVEN
    assert [verdict.why for verdict in cells["write_cr0"].verdicts] == ["`mov cr0, rdi` needs another mode of the CPU"]
    assert [verdict.why for verdict in cells["wbinvd"].verdicts] == ["no meaning is declared"]


@pytest.mark.parametrize(
    ("op", "old", "new"),
    [
        ("read_cr2", 'asm "mov rax, cr2"', 'asm "mov rax, cr3"'),
        ("save_fl", 'asm "pushfq; pop rax"', 'asm "xor eax, eax"'),
        ("pte_val", 'asm "mov rax, rdi"', 'asm "mov eax, edi"'),
        ("queued_spin_unlock", '"and byte ptr [rdi], 0"', '"and word ptr [rdi], 0"'),
        ("queued_spin_unlock", '"and byte ptr [rdi], 0"', '"and byte ptr [rdi], 1"'),
        ("irq_disable", '"cli"', '"sti"'),
    ],
)
def test_broken_inline_code_is_seen(spec: Spec, op: str, old: str, new: str) -> None:
    _, messages = judged(spec(INLINE.replace(old, new), NEW), "inline", op)
    assert messages == [missed(op)]


@pytest.mark.parametrize("nop", ["8d 76 01", "89 f7", "87 c0 40", "f5", "9c 9d f8", "50", "cc", "0f 0b", "eb fe"])
def test_a_nop_that_does_something_is_seen(spec: Spec, nop: str) -> None:
    size = len(bytes.fromhex(nop))
    nops = " ".join(f'"{"90 " * count}"' for count in range(1, size)) + f' "{nop}"'
    proof = prove_program(spec(f"machine i386 {{ bits 32 nops n {{ {nops} }} choose nops n }}"))
    assert [diagnostic.code for diagnostic in proof.diagnostics] == ["PV603"]
