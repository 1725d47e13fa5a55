"""The source of the guest's kernel: a text_poke that runs through sites on its way to memory, and the ops they call.

It follows Linux at commit 19d36ccdc34f ("x86: Fix alternatives and kprobes to remap write-protected kernel
text"): text_poke() asks lookup_address(), which calls pgd_val; a page that is write-protected is mapped a second time
by vmap(), which disables interrupts on its way through kmalloc().
"""

from __future__ import annotations

from typing import NamedTuple

from pvspec.x86.emulator.machine import KERNEL


class Op(NamedTuple):
    """How C calls an op: `saves` if the call saves and restores ecx and edx, `result` if it returns one in eax.

    `argument` is what eax holds. As include/asm-i386/paravirt.h of Linux 2.6.23: PVOP_CALL, __raw_local_save_flags.
    """

    saves: bool
    result: bool
    argument: int = 0


OPS = {
    "pgd_val": Op(saves=False, result=True, argument=0x00131067),
    "save_fl": Op(saves=True, result=True),
    "irq_disable": Op(saves=True, result=False),
    "restore_fl": Op(saves=True, result=False, argument=0x002),
}


def slot(op: str) -> str:
    """The symbol of an op's slot in the table of ops."""
    return f"pv_{op}"


def call(op: str) -> tuple[str, ...]:
    """The instructions of a site."""
    statement = f"call dword ptr [{slot(op)}]"
    return ("push ecx", "push edx", statement, "pop edx", "pop ecx") if OPS[op].saves else (statement,)


def _site(op: str) -> str:
    return "; ".join(call(op))


KERNEL_TEXT = {
    "lookup_address": f"""
        push ebx
        mov  ebx, eax
        shr  eax, 22
        mov  eax, [eax*4 + swapper_pg_dir]
        {_site("pgd_val")}
        test eax, eax
        jz   none
        and  eax, 0xfffff000
        shr  ebx, 10
        and  ebx, 0xffc
        lea  eax, [eax + ebx + {KERNEL:#x}]
    none:
        pop  ebx
        ret
    """,
    "vmap": f"""
        push ebx
        mov  ebx, eax
        {_site("save_fl")}
        push eax
        {_site("irq_disable")}
        mov  eax, ebx
        sub  eax, {KERNEL:#x}
        and  eax, 0xfffff000
        or   eax, 3
        mov  [window_entry], eax
        add  eax, 0x1000
        mov  [window_entry + 4], eax
        invlpg [window]
        invlpg [window + 0x1000]
        pop  eax
        {_site("restore_fl")}
        and  ebx, 0xfff
        lea  eax, [ebx + window]
        pop  ebx
        ret
    """,
    # regparm(3): address, code, bytes; cpuid is the sync_core()
    "text_poke": """
        push ebp
        push edi
        push esi
        push ebx
        mov  edi, eax
        mov  esi, edx
        mov  ebp, ecx
        call lookup_address
        test byte ptr [eax], 2
        jnz  copy
        mov  eax, edi
        call vmap
        mov  edi, eax
    copy:
        mov  ecx, ebp
        rep movsb
        xor  eax, eax
        cpuid
        pop  ebx
        pop  esi
        pop  edi
        pop  ebp
        ret
    """,
    "paravirt_nop": "ret",
    "check_events": "ret",
}

# The functions for the ops. C functions may destroy ecx and edx, so all of these do.
_DESTROY = "mov ecx, 0xdeadc0de; mov edx, ecx; ret"
_FLAG = {
    "pgd_val": _DESTROY,
    "save_fl": f"pushfd; pop eax; {_DESTROY}",
    "irq_disable": f"cli; {_DESTROY}",
    "restore_fl": f"push eax; popfd; {_DESTROY}",
}
_EVENT_MASK = {
    "pgd_val": _DESTROY,
    "save_fl": f"test byte ptr [vcpu_info + 1], 0xff; setz ah; add ah, ah; {_DESTROY}",
    "irq_disable": f"mov byte ptr [vcpu_info + 1], 1; {_DESTROY}",
    "restore_fl": f"test ah, 2; setz byte ptr [vcpu_info + 1]; {_DESTROY}",
}
_WORD = {
    "pgd_val": _DESTROY,
    "save_fl": f"mov eax, [irq_enabled]; {_DESTROY}",
    "irq_disable": f"mov dword ptr [irq_enabled], 0; {_DESTROY}",
    "restore_fl": f"mov [irq_enabled], eax; {_DESTROY}",
}
# VMI's calls preserve all other registers, so its branches also fit sites where C has no register to spare.
_VMI = {
    "pgd_val": _DESTROY,
    "save_fl": "pushfd; pop eax; ret",
    "irq_disable": "cli; ret",
    "restore_fl": "push eax; popfd; ret",
}
_BY_BACKEND = {"xen": _EVENT_MASK, "lguest": _WORD, "vmi": _VMI}

ROM_CALLS = {"vmi": {30: "irq_disable", 31: "save_fl", 32: "restore_fl"}}
"""By backend, the op that each ROM call implements: VMI_CALL_*, include/asm-i386/vmi.h of Linux 2.6.23."""


def function(backend: str, op: str) -> str:
    """The symbol of the function that implements an op."""
    return f"{backend}_{op}"


def functions(backend: str) -> dict[str, str]:
    """The functions that the ops' slots point to: source by symbol. Unknown backends get the native ones."""
    return {function(backend, op): text for op, text in _BY_BACKEND.get(backend, _FLAG).items()}
