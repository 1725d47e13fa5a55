"""Command lines made at random: the kernel's parameters with their values, also spelt as nobody should."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

FLAG = ""
"""A parameter without a value."""

VALUES: Mapping[str, Sequence[str]] = {
    "mitigations": ("off", "auto", "auto,nosmt"),
    "nospectre_v1": (FLAG,),
    "nospectre_v2": (FLAG,),
    "spectre_v2": (
        *("off", "on", "auto", "retpoline", "retpoline,amd", "retpoline,lfence", "retpoline,generic"),
        *("eibrs", "eibrs,lfence", "eibrs,retpoline", "ibrs"),
    ),
    "spectre_v2_user": ("off", "on", "auto", "prctl", "prctl,ibpb", "seccomp", "seccomp,ibpb"),
    "spectre_bhi": ("off", "on", "vmexit"),
    "spec_store_bypass_disable": ("off", "on", "auto", "prctl", "seccomp"),
    "nospec_store_bypass_disable": (FLAG,),
    "ssbd": ("force-on", "force-off", "kernel"),
    "retbleed": (
        *("off", "auto", "unret", "ibpb", "stuff", "nosmt", "force", "auto,nosmt", "unret,nosmt", "ibpb,nosmt"),
        *("off,nosmt", "unret,force", "stuff,nosmt"),
    ),
    "spec_rstack_overflow": ("off", "microcode", "safe-ret", "ibpb", "ibpb-vmexit"),
    "indirect_target_selection": ("off", "on", "force", "vmexit", "stuff"),
    "vmscape": ("off", "ibpb", "force", "on", "auto"),
    "tsa": ("off", "on", "user", "vm"),
    "mds": ("off", "full", "full,nosmt"),
    "tsx": ("on", "off", "auto"),
    "tsx_async_abort": ("off", "full", "full,nosmt"),
    "mmio_stale_data": ("off", "full", "full,nosmt"),
    "reg_file_data_sampling": ("off", "on"),
    "gather_data_sampling": ("off", "force"),
    "srbds": ("off", "on"),
    "l1tf": ("off", "flush", "flush,nosmt", "flush,nowarn", "full", "full,force"),
    "l1d_flush": ("on", "off"),
    "pti": ("on", "off", "auto"),
    "nopti": (FLAG,),
    "nosmt": (FLAG, "force"),
    "nosmp": (FLAG,),
    "maxcpus": ("0", "1", "2", "3", "0x1"),
    "nr_cpus": ("1", "2", "4", "0x1"),
    "possible_cpus": ("1", "2", "4"),
    "disable_cpu_apicid": ("0", "1", "2"),
    "noreplace-smp": (FLAG,),
    "nolapic": (FLAG,),
    "disableapic": (FLAG,),
    "lapic": (FLAG,),
    "noapic": (FLAG,),
    "acpi": ("off", "ht", "noirq", "on"),
    "nox2apic": (FLAG,),
    "x2apic_phys": (FLAG,),
    # not avx: QEMU's CPUID counts it all the same (leaf 0xd, 1), so that a kernel with XSAVEC finds XSAVE inconsistent
    "clearcpuid": (
        *("ibrs", "ibpb", "stibp", "ssbd", "ibrs_enhanced", "fsgsbase", "smap", "erms", "fsrm", "rtm", "xsave"),
        *("xsaveopt", "pge", "umip", "rdrand", "rdseed", "clflushopt", "514", "304", "582", "smap,erms", "erms,304"),
        *("cpu_meltdown", "spectre_v2", "retbleed", "srso", "apic", "mtrr", "ss", "nx", "pat", "md_clear"),
    ),
    "setcpuid": ("ibrs", "304"),
    "nofsgsbase": (FLAG,),
    "nopcid": (FLAG,),
    "noinvpcid": (FLAG,),
    "nosmap": (FLAG,),
    "nosmep": (FLAG,),
    "nopku": (FLAG,),
    "noxsave": (FLAG,),
    "noxsaveopt": (FLAG,),
    "noxsaves": (FLAG,),
    "nousershstk": (FLAG,),
    "no5lvl": (FLAG,),
    "nosgx": (FLAG,),
    "ibt": ("off", "on"),
    "fred": ("on", "off"),
    "nordrand": (FLAG,),
    "rdrand": ("force",),
    "noclflush": (FLAG,),
    "nofxsr": (FLAG,),
    "no387": (FLAG,),
    "nogbpages": (FLAG,),
    "gbpages": (FLAG,),
    "nopat": (FLAG,),
    "noexec": ("on", "off"),
    "noexec32": ("on", "off"),
    "notsc": (FLAG,),
    "tsc": ("reliable", "unstable", "noirqtime"),
    "nopv": (FLAG,),
    "nopvspin": (FLAG,),
    "hv_nopvspin": (FLAG,),
    "xen_nopvspin": (FLAG,),
    "no-kvmapf": (FLAG,),
    "no-kvmclock": (FLAG,),
    "no-steal-acc": (FLAG,),
    "idle": ("poll", "halt", "nomwait"),
    "io_delay": ("0x80", "0xed", "udelay", "none"),
    "ia32_emulation": ("on", "off"),
    "vsyscall": ("none", "xonly", "emulate"),
    "split_lock_detect": ("off", "warn", "fatal"),
    "preempt": ("none", "voluntary", "full"),
    "randomize_kstack_offset": ("on", "off"),
    "init_on_alloc": ("1", "0"),
    "init_on_free": ("1", "0"),
    "dis_ucode_ldr": (FLAG,),
    "debug-callthunks": (FLAG,),
    "cfi": ("off", "auto"),
    "mem_encrypt": ("on", "off"),
    "mce": ("off", "bootlog"),
    "nomce": (FLAG,),
    "mtrr": ("debug",),
    "iommu": ("off", "pt"),
    "quiet": (FLAG,),
    "debug": (FLAG,),
    "ro": (FLAG,),
    "root": ("/dev/sda1",),
}
"""Parameters that may change what the kernel makes of itself, and some that must not, with their values."""

_OFTEN = (
    *("mitigations", "spectre_v2", "spectre_v2_user", "retbleed", "spec_rstack_overflow", "pti", "nopti", "nosmt"),
    *("indirect_target_selection", "vmscape", "tsa", "mds", "tsx_async_abort", "mmio_stale_data", "spectre_bhi"),
    *("nospectre_v1", "nospectre_v2", "spec_store_bypass_disable", "clearcpuid", "maxcpus", "nosmp", "noreplace-smp"),
    *("reg_file_data_sampling", "nr_cpus"),
)
_LEFT_OUT = re.compile(
    r"mem|memmap|memblock|early(con|printk)|console|debug-alternative|initrd.*|crashkernel|elfcorehdr|reserve.*|"
    r"boot_?(delay|config)|.*hash_entries|.*hugepage.*|(kernel|mov)able?core|movablecore|swiotlb|log_buf_len|percpu_alloc|"
    r"efi.*|add_efi_memmap|early_ioremap_debug|initcall_blacklist|init|rdinit|panic_on_taint|oops|numa|acpi_rsdp|"
    r"trace_.*|ftrace.*|kprobe_event|tp_printk.*|profile|iomem|.*_nr|lpj|pci|tsc_early_khz|kgdb.*|"
    r"fips|lockdown|ignore_loglevel|loglevel|dyndbg|ddebug_query|accept_memory|coherent_pool|stack.*|slub?_.*|slab_.*"
)
"""Parameters that lay out memory, print much or stop the boot: nothing of the text follows from them."""


def ordinary(chance: Random, known: Sequence[str], most: int = 4) -> list[str]:
    """Up to `most` words as they should be; `known` are the parameters of a kernel, of which some are tried, too."""
    return [_word(chance, known) for _ in range(chance.choice([0, 1, 1, 2, 2, 3, most]))]


def spelt(chance: Random, known: Sequence[str]) -> list[str]:
    """Words of which at least one is spelt as nobody should."""
    words = ordinary(chance, known) or [_word(chance, known)]
    for _ in range(chance.choice([1, 1, 2])):
        at = chance.randrange(len(words))
        words[at : at + 1] = chance.choice(_SPELLINGS)(chance, words[at])
    return words


def tried(parameters: Mapping[str, bool]) -> list[str]:
    """A kernel's own parameters (from the table in its image) that a machine may have."""
    names = (name.removesuffix("=") for name in parameters)
    return sorted({name for name in names if name not in VALUES and not _LEFT_OUT.fullmatch(name.partition("=")[0])})


def _word(chance: Random, known: Sequence[str]) -> str:
    if known and chance.random() < 0.06:
        return chance.choice(known) + chance.choice(["", "=0", "=1", "=off", "=on"])
    name = chance.choice(_OFTEN if chance.random() < 0.6 else [*VALUES])
    return _valued(name, chance.choice(VALUES[name]))


def _valued(name: str, value: str) -> str:
    return f"{name}={value}" if value else name


def _quoted(chance: Random, word: str) -> list[str]:
    name, equals, value = word.partition("=")
    return [chance.choice([f'"{word}"', f'{name}{equals}"{value}"' if equals else f'"{name}"'])]


def _dashed(chance: Random, word: str) -> list[str]:
    name, equals, value = word.partition("=")
    other = name.translate(str.maketrans("-_", "_-")) if chance.random() < 0.7 else name.replace("_", "-")
    return [other + equals + value]


def _ended(chance: Random, word: str) -> list[str]:
    return chance.choice([["--", word], [word, "--"], ["--", word, word]])


def _repeated(chance: Random, word: str) -> list[str]:
    name, equals, _ = word.partition("=")
    others = [*VALUES.get(name, ()), "nonsense", "", "0"]
    return chance.sample([word, f"{name}={chance.choice(others)}"], 2) if equals else [word, f"{name}=0"]


def _glued(chance: Random, word: str) -> list[str]:
    return [word + chance.choice([",", ",,", "foo", ",nonsense", ",nosmt", ",auto", ".", "0"])]


def _flagged(chance: Random, word: str) -> list[str]:
    name = word.partition("=")[0]
    return [name + chance.choice(["", "=", "=0", "=1", "=off", "=no", "=y"])]


def _turned(chance: Random, word: str) -> list[str]:
    name, equals, value = word.partition("=")
    return [name + equals + ",".join(reversed(value.split(",")))]


def _raised(chance: Random, word: str) -> list[str]:
    return [chance.choice([word.upper(), word.capitalize(), word.partition("=")[0] + "=OFF"])]


def _prefixed(chance: Random, word: str) -> list[str]:
    return [chance.choice(["x86.", "-", "no", "=", ","]) + word]


def _undone(chance: Random, word: str) -> list[str]:
    undo = {
        "pti": "nopti",
        "nopti": "pti=on",
        "spectre_v2": "nospectre_v2",
        "spec_store_bypass_disable": "nospec_store_bypass_disable",
        "mitigations": "mitigations=none",
        "nosmp": "maxcpus=2",
        "maxcpus": "maxcpus=2",
        "nr_cpus": "nr_cpus=4",
    }
    return chance.sample([word, undo.get(word.partition("=")[0], "mitigations=auto")], 2)


_SPELLINGS = (_quoted, _dashed, _ended, _repeated, _glued, _flagged, _turned, _raised, _prefixed, _undone)
