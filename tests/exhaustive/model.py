"""How Linux 2.6.23 on i386 patches one site, modelled slowly and obviously.

This is the judge of the generated patch functions, so it shares nothing with the compiler: no assembler,
no spec, every byte spelled out by hand.  Each rule names the 2.6.23 file it was read from.  All addresses are
32-bit virtual addresses, all lengths are byte counts.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

Backend = Literal["native", "vmi", "xen", "lguest"]
Nops = Literal["intel", "k7", "k8"]


class Config(TypedDict):
    """The kernel options that move op numbers (CONFIG_X86_LOCAL_APIC is always on)."""

    highpte: bool
    pae: bool


class ModelBug(Exception):
    """The kernel would stop here: BUG() or BUG_ON()."""


CONFIGS: tuple[Config, ...] = tuple(
    Config(highpte=highpte, pae=pae) for highpte in (False, True) for pae in (False, True)
)

# include/asm-i386/paravirt.h, struct paravirt_ops: the fields in order, each row present under its condition.
# Words 0 to 4 (kernel_rpl, shared_kernel_pmd, paravirt_enabled, name, patch) are data, not ops.
_DATA_WORDS = 5
_FIELDS: tuple[tuple[Literal["always", "highpte", "pae"], str], ...] = (
    ("always", "arch_setup memory_setup post_allocator_init init_IRQ time_init"),
    ("always", "pagetable_setup_start pagetable_setup_done banner get_wallclock set_wallclock"),
    ("always", "cpuid get_debugreg set_debugreg clts"),
    ("always", "read_cr0 write_cr0 read_cr2 write_cr2 read_cr3 write_cr3 read_cr4_safe read_cr4 write_cr4"),
    ("always", "save_fl restore_fl irq_disable irq_enable safe_halt halt wbinvd"),
    ("always", "read_msr write_msr read_tsc read_pmc sched_clock get_cpu_khz"),
    ("always", "load_tr_desc load_gdt load_idt store_gdt store_idt set_ldt store_tr load_tls"),
    ("always", "write_ldt_entry write_gdt_entry write_idt_entry load_esp0 set_iopl_mask io_delay"),
    ("always", "activate_mm dup_mmap exit_mmap"),
    ("always", "apic_write apic_write_atomic apic_read"),
    ("always", "setup_boot_clock setup_secondary_clock startup_ipi_hook"),
    ("always", "flush_tlb_user flush_tlb_kernel flush_tlb_single flush_tlb_others"),
    ("always", "alloc_pt alloc_pd alloc_pd_clone release_pt release_pd"),
    ("always", "set_pte set_pte_at set_pmd pte_update pte_update_defer"),
    ("highpte", "kmap_atomic_pte"),
    ("pae", "set_pte_atomic set_pte_present set_pud pte_clear pmd_clear"),
    ("always", "pte_val"),
    ("pae", "pmd_val"),
    ("always", "pgd_val make_pte"),
    ("pae", "make_pmd"),
    ("always", "make_pgd set_lazy_mode irq_enable_sysexit iret"),
)


def _number_ops(config: Config) -> dict[str, int]:
    # A type number is the field's offset divided by the pointer size: PARAVIRT_PATCH(x).
    present = {"always": True, **config}
    names = [name for condition, row in _FIELDS if present[condition] for name in row.split()]
    return {name: _DATA_WORDS + index for index, name in enumerate(names)}


OPS: dict[tuple[bool, bool], dict[str, int]] = {
    (config["highpte"], config["pae"]): _number_ops(config) for config in CONFIGS
}

# include/asm-i386/paravirt.h
CLBR_NONE, CLBR_EAX, CLBR_ECX, CLBR_EDX, CLBR_ANY = 0, 1, 2, 4, 7

MAX_PATCH_LEN = 254  # arch/i386/kernel/alternative.c
BRANCH_LEN = 5  # arch/i386/kernel/paravirt.c, struct branch: opcode and rel32


def _no_rom(call: int) -> int:
    raise LookupError(f"this world has no VMI ROM to ask for call {call}")


@dataclass(frozen=True)
class World:
    """What a running kernel knows when it patches.

    targets: type number to the address in that slot of paravirt_ops, 0 for a null pointer; a slot that is
    asked for and missing is a KeyError.  symbols: `vcpu_info` and `check_events` for xen, `irq_enabled` (the
    address of lguest_data.irq_enabled) for lguest.  rom: VMI call number to the u64 that get_reloc returns.
    """

    targets: Mapping[int, int]
    paravirt_nop: int
    symbols: Mapping[str, int] = field(default_factory=dict)
    have_vcpu_info_placement: bool = True
    rom: Callable[[int], int] = _no_rom
    nops: Nops = "intel"
    smp: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a patch function leaves: the bytes used, and its buffer (as long as the site) before padding."""

    used: int
    insnbuf: bytes


@dataclass(frozen=True)
class Site:
    """One record of .parainstructions; op is None if the type number is no op in this configuration."""

    op: str | None
    type: int
    clobber: int
    addr: int
    original: bytes

    @property
    def length(self) -> int:
        """The site's bytes, counted: the `len` that a patch function is given."""
        return len(self.original)


# --- arch/i386/kernel/paravirt.c: the rules that backends share ---------------------------------------------


def _emit(site: Site, code: bytes) -> Outcome:
    # apply_paravirt() preset the buffer with the original instructions; what is not overwritten stays.
    return Outcome(len(code), code + site.original[len(code) :])


def _nop(site: Site) -> Outcome:
    # paravirt_patch_nop(): nothing is used, the applier pads the whole site.
    return _emit(site, b"")


def _keep(site: Site) -> Outcome:
    # paravirt_patch_ignore(): "used" is the whole length, and the buffer still holds the original.
    return Outcome(site.length, site.original)


def _insns(site: Site, code: bytes) -> Outcome:
    # paravirt_patch_insns(): code longer than the site leaves it alone.
    return _keep(site) if len(code) > site.length else _emit(site, code)


def _u32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


def _branch(opcode: int, target: int, addr: int) -> bytes:
    # The displacement counts from the end of the branch at the site, wherever the buffer is.
    return bytes([opcode]) + _u32(target - (addr + BRANCH_LEN))


def _call(site: Site, target: int, target_clobbers: int) -> Outcome:
    # paravirt_patch_call()
    if target_clobbers & ~site.clobber:
        return _keep(site)
    if site.length < BRANCH_LEN:
        return _keep(site)
    return _emit(site, _branch(0xE8, target, site.addr))


def _jmp(site: Site, target: int) -> Outcome:
    # paravirt_patch_jmp(): the clobbers are not looked at.
    if site.length < BRANCH_LEN:
        return _keep(site)
    return _emit(site, _branch(0xE9, target, site.addr))


def _default(site: Site, world: World) -> Outcome:
    # paravirt_patch_default(): the tests in the kernel's order.
    target = world.targets[site.type]
    if target == 0:
        return _insns(site, bytes.fromhex("0f 0b"))  # ud2a
    if target == world.paravirt_nop:
        return _nop(site)
    if site.op in ("iret", "irq_enable_sysexit"):
        return _jmp(site, target)
    return _call(site, target, CLBR_ANY)


# --- native: arch/i386/kernel/paravirt.c, native_patch() ----------------------------------------------------

_NATIVE_INSNS = {
    "irq_disable": "fa",  # cli
    "irq_enable": "fb",  # sti
    "restore_fl": "50 9d",  # push %eax; popf
    "save_fl": "9c 58",  # pushf; pop %eax
    "iret": "cf",
    "irq_enable_sysexit": "fb 0f 35",  # sti; sysexit
    "read_cr2": "0f 20 d0",  # mov %cr2, %eax
    "read_cr3": "0f 20 d8",  # mov %cr3, %eax
    "write_cr3": "0f 22 d8",  # mov %eax, %cr3
    "clts": "0f 06",
    "read_tsc": "0f 31",  # rdtsc
}
# These return what they are passed, in the registers it came in.  The pmd pair exists only under PAE.
_NATIVE_NOPS = ("make_pgd", "make_pte", "pgd_val", "pte_val", "make_pmd", "pmd_val")


def _native_patch(site: Site, world: World) -> Outcome:
    if site.op in _NATIVE_INSNS:
        return _insns(site, bytes.fromhex(_NATIVE_INSNS[site.op]))
    if site.op in _NATIVE_NOPS:
        return _nop(site)
    return _default(site, world)


# --- vmi: arch/i386/kernel/vmi.c, vmi_patch() and patch_internal(); numbers from include/asm-i386/vmi.h -----

_VMI_CALLS = {
    "irq_enable": 29,
    "irq_disable": 30,
    "save_fl": 31,  # GetInterruptMask
    "restore_fl": 32,  # SetInterruptMask
    "iret": 33,
    "irq_enable_sysexit": 34,
}
_VMI_RELOCATION_NONE, _VMI_RELOCATION_CALL_REL, _VMI_RELOCATION_JUMP_REL, _VMI_RELOCATION_NOP = 0, 1, 2, 3


def _vmi_patch(site: Site, world: World) -> Outcome:
    if site.op not in _VMI_CALLS:
        return _keep(site)  # not even the default rule: indirect calls stay indirect
    # struct vmi_relocation_info: u32 eip, u8 type, u8 reserved[3]
    relocation = world.rom(_VMI_CALLS[site.op])
    eip = relocation & 0xFFFFFFFF
    kind = relocation >> 32 & 0xFF
    if kind == _VMI_RELOCATION_CALL_REL:
        return _vmi_branch(site, 0xE8, eip)
    if kind == _VMI_RELOCATION_JUMP_REL:
        return _vmi_branch(site, 0xE9, eip)
    if kind == _VMI_RELOCATION_NOP:
        return _nop(site)
    if kind == _VMI_RELOCATION_NONE:
        return _keep(site)
    raise ModelBug(f"vmi: unknown relocation type {kind}")


def _vmi_branch(site: Site, opcode: int, eip: int) -> Outcome:
    # Unlike the shared rules: a short site is a bug, and a call does not look at the clobbers.
    if site.length < BRANCH_LEN:
        raise ModelBug(f"vmi: BUG_ON(len < 5), len is {site.length}")
    return _emit(site, _branch(opcode, eip, site.addr))


# --- xen: arch/i386/xen/enlighten.c, xen_patch(); templates from arch/i386/xen/xen-asm.S --------------------

_XEN_SITES = ("irq_enable", "irq_disable", "save_fl", "restore_fl")


def _xen_patch(site: Site, world: World) -> Outcome:
    if site.op in _XEN_SITES and world.have_vcpu_info_placement:
        code = _xen_code(site, world)
        if len(code) <= site.length:
            return _emit(site, code)
    return _default(site, world)  # code that is too long comes here, too: the site is not simply kept


def _xen_code(site: Site, world: World) -> bytes:
    # include/asm-i386/percpu.h, PER_CPU_VAR: the variable is reached through %fs on SMP only.
    fs = bytes.fromhex("64") if world.smp else b""
    # include/xen/interface/xen.h, struct vcpu_info: evtchn_upcall_pending at 0, evtchn_upcall_mask at 1.
    pending = _u32(world.symbols["vcpu_info"])
    mask = _u32(world.symbols["vcpu_info"] + 1)
    hexa = bytes.fromhex
    if site.op == "irq_disable":
        return fs + hexa("c6 05") + mask + hexa("01")  # movb $1, mask
    if site.op == "save_fl":
        # testb $0xff, mask; setz %ah; addb %ah, %ah
        return fs + hexa("f6 05") + mask + hexa("ff") + hexa("0f 94 c4") + hexa("00 e4")
    if site.op == "irq_enable":
        clear = fs + hexa("66 81 25") + pending + hexa("ff 00")  # andw $0x00ff, pending
        return _xen_check_events(clear, site, world)
    test = hexa("f6 c4 02") + fs + hexa("0f 94 05") + mask  # testb $2, %ah; setz mask
    compare = fs + hexa("66 83 3d") + pending + hexa("01")  # cmpw $0x0001, pending
    return _xen_check_events(test + compare, site, world)


def _xen_check_events(head: bytes, site: Site, world: World) -> bytes:
    # "jz 1f; call check_events; 1:".  The kernel copies a call linked for the template's own address and adds
    # start - addr to it, which makes it the call that a linker would have put at the site.
    skip = bytes.fromhex("74 05")
    call_addr = site.addr + len(head) + len(skip)
    return head + skip + _branch(0xE8, world.symbols["check_events"], call_addr)


# --- lguest: drivers/lguest/lguest.c, lguest_patch(); templates from drivers/lguest/lguest_asm.S ------------


def _lguest_patch(site: Site, world: World) -> Outcome:
    code = _lguest_code(site, world)
    if code is None or len(code) > site.length:
        return _default(site, world)
    return _emit(site, code)


def _lguest_code(site: Site, world: World) -> bytes | None:
    if site.op not in ("irq_disable", "irq_enable", "restore_fl", "save_fl"):
        return None
    irq_enabled = _u32(world.symbols["irq_enabled"])
    if site.op == "irq_disable":
        return bytes.fromhex("c7 05") + irq_enabled + _u32(0)  # movl $0, irq_enabled
    if site.op == "irq_enable":
        return bytes.fromhex("c7 05") + irq_enabled + _u32(0x200)  # movl $X86_EFLAGS_IF, irq_enabled
    if site.op == "restore_fl":
        return bytes.fromhex("a3") + irq_enabled  # movl %eax, irq_enabled
    return bytes.fromhex("a1") + irq_enabled  # movl irq_enabled, %eax


_BACKENDS: dict[Backend, Callable[[Site, World], Outcome]] = {
    "native": _native_patch,
    "vmi": _vmi_patch,
    "xen": _xen_patch,
    "lguest": _lguest_patch,
}


def patch(
    backend: Backend,
    type: int,
    clobber: int,
    addr: int,
    length: int,
    original: bytes,
    world: World,
    config: Config,
) -> Outcome:
    """Return what the backend's patch function does to one site; raise ModelBug where it would BUG()."""
    if len(original) != length:
        raise ValueError(f"a site of {length} bytes cannot hold {len(original)} original bytes")
    names = {number: name for name, number in OPS[config["highpte"], config["pae"]].items()}
    return _BACKENDS[backend](Site(names.get(type), type, clobber, addr, original), world)


# --- arch/i386/kernel/alternative.c: padding, and the three appliers ----------------------------------------

# include/asm-i386/processor.h: GENERIC_NOP1..8, K8_NOP1..8, K7_NOP1..8.  Row n holds the nop of n + 1 bytes.
NOPS: dict[Nops, tuple[str, ...]] = {
    "intel": (
        "90",
        "89 f6",
        "8d 76 00",
        "8d 74 26 00",
        "90 8d 74 26 00",
        "8d b6 00 00 00 00",
        "8d b4 26 00 00 00 00",
        "90 8d b4 26 00 00 00 00",
    ),
    "k8": (
        "90",
        "66 90",
        "66 66 90",
        "66 66 66 90",
        "66 66 90 66 90",
        "66 66 90 66 66 90",
        "66 66 66 90 66 66 90",
        "66 66 66 90 66 66 66 90",
    ),
    "k7": (
        "90",
        "8b c0",
        "8d 04 20",
        "8d 44 20 00",
        "8d 44 20 00 90",
        "8d 80 00 00 00 00",
        "8d 04 05 00 00 00 00",
        "8d 04 05 00 00 00 00 90",
    ),
}


def find_nop_table(k8: bool, k7: bool) -> Nops:
    """Return the table that the boot CPU's synthetic features X86_FEATURE_K8 and X86_FEATURE_K7 choose."""
    if k8:
        return "k8"
    return "k7" if k7 else "intel"


def _add_nops(length: int, nops: Nops) -> bytes:
    # add_nops(): the longest nop while it fits, then one for the remainder.
    filler = b""
    while len(filler) < length:
        size = min(8, length - len(filler))
        filler += bytes.fromhex(NOPS[nops][size - 1])
    return filler


def pad(outcome: Outcome, nops: Nops) -> bytes:
    """Return the site's final bytes: the part used, then nops; raise ModelBug if that part is too long."""
    length = len(outcome.insnbuf)
    if outcome.used > length:
        raise ModelBug(f"BUG_ON(used > len): {outcome.used} > {length}")
    return outcome.insnbuf[: outcome.used] + _add_nops(length - outcome.used, nops)


def apply_paravirt(
    backend: Backend, type: int, clobber: int, addr: int, original: bytes, world: World, config: Config
) -> bytes:
    """Return the bytes that apply_paravirt() pokes over one site, padded with the world's nops."""
    if len(original) > MAX_PATCH_LEN:
        raise ModelBug(f"BUG_ON(len > MAX_PATCH_LEN): {len(original)}")
    return pad(patch(backend, type, clobber, addr, len(original), original, world, config), world.nops)


def alternatives(
    instrlen: int, replacementlen: int, has_feature: bool, original: bytes, replacement: bytes, nops: Nops
) -> bytes:
    """Return the final bytes of one alt_instr site; both lengths are the record's, and are checked first."""
    # Both BUG_ONs come before the feature is looked at, so a bad record stops every kernel.
    if replacementlen > instrlen:
        raise ModelBug(f"BUG_ON(replacementlen > instrlen): {replacementlen} > {instrlen}")
    if instrlen > MAX_PATCH_LEN:
        raise ModelBug(f"BUG_ON(instrlen > sizeof(insnbuf)): {instrlen}")
    if (len(original), len(replacement)) != (instrlen, replacementlen):
        raise ValueError("original and replacement must be as long as the record says")
    if not has_feature:
        return original
    return replacement + _add_nops(instrlen - replacementlen, nops)  # copied as is: no relocation in 2.6.23


def smp_lock(original: int, up: bool, nops: Nops, in_text: bool) -> int:
    """Return the byte at one lock prefix after switching to one CPU (up) or to several."""
    if not in_text:  # the kernel compares *ptr < text and *ptr > text_end: text_end itself is still inside
        return original
    return _add_nops(1, nops)[0] if up else 0xF0
