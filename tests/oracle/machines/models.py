"""CPU models that there are, each with what it has, and what a later microcode or its vendor's firmware adds.

Families and models are those that Linux tells apart (cpu_vuln_whitelist and cpu_vuln_blacklist in
arch/x86/kernel/cpu/common.c, bsp_init_amd and init_amd in amd.c), and their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

INTEL, AMD, HYGON = "GenuineIntel", "AuthenticAMD", "HygonGenuine"
CENTAUR, ZHAOXIN = "CentaurHauls", "  Shanghai  "

# IA32_ARCH_CAPABILITIES
RDCL_NO, IBRS_ALL, RSBA, SKIP_L1DFL, SSB_NO, MDS_NO = (1 << bit for bit in range(6))
PSCHANGE_MC_NO, TSX_CTRL, TAA_NO = (1 << bit for bit in range(6, 9))
SBDR_SSDP_NO, FBSDP_NO, PSDP_NO = (1 << bit for bit in range(13, 16))
FB_CLEAR, FB_CLEAR_CTRL, RRSBA, BHI_NO, XAPIC_DISABLE = (1 << bit for bit in range(17, 22))
PBRSB_NO, GDS_CTRL, GDS_NO, RFDS_NO, RFDS_CLEAR = (1 << bit for bit in range(24, 29))
ITS_NO = 1 << 62
ANY_CAPABILITY = (
    *(RDCL_NO, IBRS_ALL, RSBA, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TSX_CTRL, TAA_NO),
    *(SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, FB_CLEAR, RRSBA, BHI_NO, PBRSB_NO, GDS_CTRL, GDS_NO, RFDS_NO, RFDS_CLEAR),
    ITS_NO,
)

MSR_ONLY = {"RRSBA": RRSBA, "GDS_CTRL": GDS_CTRL, "RFDS_CLEAR": RFDS_CLEAR}
"""Those by which kernels decide without keeping a feature for them; by the names that specs give them."""


class Generation(NamedTuple):
    """What models of one design have.

    `flags` are QEMU's words, `hidden` the kernel's names; `may` and `may_hide` are there with some microcode, or in
    some machines. `capabilities`: bits of IA32_ARCH_CAPABILITIES, and those that may be set; None: no such register.
    """

    base: str
    flags: Sequence[str] = ()
    may: Sequence[str] = ()
    hidden: Sequence[str] = ()
    may_hide: Sequence[str] = ()
    capabilities: int | None = None
    may_capabilities: Sequence[int] = ()


class Model(NamedTuple):
    """A family, its models of one design, and the highest stepping to try."""

    vendor: str
    family: int
    models: Sequence[int]
    stepping: int
    design: Generation


_SPEC = ("spec-ctrl", "stibp", "ssbd")
_VERW = ("md-clear",)
_L1D = ("FLUSH_L1D",)
_ICE = RDCL_NO | IBRS_ALL | SKIP_L1DFL | MDS_NO | PSCHANGE_MC_NO
_NEW = _ICE | TAA_NO | SBDR_SSDP_NO | FBSDP_NO | PSDP_NO | PBRSB_NO | GDS_NO

CORE2 = Generation("Penryn")
NEHALEM = Generation("Nehalem", may=_SPEC, may_hide=_L1D)
WESTMERE = Generation("Westmere", may=_SPEC, may_hide=_L1D)
SANDY = Generation("SandyBridge", may=(*_SPEC, *_VERW), may_hide=_L1D)
IVY = Generation("IvyBridge", may=(*_SPEC, *_VERW), may_hide=(*_L1D, "SRBDS_CTRL"))
HASWELL = Generation("Haswell-noTSX", may=(*_SPEC, *_VERW, "rtm", "hle"), may_hide=(*_L1D, "SRBDS_CTRL"))
BROADWELL = Generation("Broadwell-noTSX", may=(*_SPEC, *_VERW, "rtm", "hle"), may_hide=(*_L1D, "SRBDS_CTRL"))
SKYLAKE = Generation(
    "Skylake-Client-noTSX-IBRS",
    may=(*_SPEC, *_VERW, "rtm", "hle"),
    may_hide=(*_L1D, "SRBDS_CTRL", "RTM_ALWAYS_ABORT", "TSX_FORCE_ABORT"),
    capabilities=0,
    may_capabilities=(RSBA, SKIP_L1DFL, FB_CLEAR, GDS_CTRL, TSX_CTRL, XAPIC_DISABLE),
)
CASCADE = Generation(
    "Skylake-Client-noTSX-IBRS",
    flags=(*_SPEC, *_VERW, "arch-capabilities"),
    may=("rtm", "hle"),
    may_hide=(*_L1D, "SRBDS_CTRL"),
    capabilities=RDCL_NO | IBRS_ALL | SKIP_L1DFL | MDS_NO,
    may_capabilities=(TSX_CTRL, TAA_NO, FB_CLEAR, RRSBA, GDS_CTRL, PSCHANGE_MC_NO, ITS_NO, XAPIC_DISABLE),
)
ICELAKE = Generation(
    "Skylake-Client-noTSX-IBRS",
    flags=(*_SPEC, *_VERW, "arch-capabilities", "fsrm", "rdpid", "umip"),
    may_hide=(*_L1D, "RRSBA_CTRL"),
    capabilities=_ICE,
    may_capabilities=(TSX_CTRL, TAA_NO, FB_CLEAR, FBSDP_NO, PSDP_NO, RRSBA, GDS_CTRL, PBRSB_NO, ITS_NO),
)
ALDER = Generation(
    "Skylake-Client-noTSX-IBRS",
    flags=(*_SPEC, *_VERW, "arch-capabilities", "fsrm", "umip"),
    hidden=("BHI_CTRL", "RRSBA_CTRL"),
    may_hide=("HYBRID_CPU", "FSRS", "FZRM", *_L1D),
    capabilities=_NEW | RRSBA,
    may_capabilities=(RFDS_CLEAR, RFDS_NO, ITS_NO, BHI_NO, FB_CLEAR),
)
SAPPHIRE = Generation(
    "Skylake-Client-noTSX-IBRS",
    flags=(*_SPEC, *_VERW, "arch-capabilities", "fsrm", "umip"),
    may=("rtm", "hle"),
    hidden=("BHI_CTRL", "RRSBA_CTRL"),
    may_hide=("FSRS", "FZRM", "FSRC", *_L1D),
    capabilities=_NEW | RRSBA,
    may_capabilities=(ITS_NO, BHI_NO, TSX_CTRL, RFDS_NO),
)
BONNELL = Generation("n270", flags=("lm", "cx16", "syscall"))
SILVERMONT = Generation("Westmere", may=(*_SPEC, *_VERW))
GOLDMONT = Generation(
    "Westmere",
    flags=("rdrand", "rdseed", "smap", "smep", "fsgsbase", "erms"),
    may=(*_SPEC, *_VERW, "arch-capabilities"),
    capabilities=RDCL_NO | SKIP_L1DFL,
    may_capabilities=(SSB_NO, RFDS_CLEAR, RFDS_NO, FB_CLEAR),
)
TREMONT = Generation(
    "Westmere",
    flags=("rdrand", "rdseed", "smap", "smep", "fsgsbase", "erms", *_SPEC, *_VERW, "arch-capabilities", "umip"),
    may=("fsrm",),
    may_hide=("SRBDS_CTRL",),
    capabilities=_ICE,
    may_capabilities=(RFDS_CLEAR, RFDS_NO, FB_CLEAR, FBSDP_NO, PSDP_NO, SBDR_SSDP_NO, TAA_NO, ITS_NO),
)
XEON_PHI = Generation("IvyBridge", may=(*_SPEC, *_VERW), may_hide=_L1D)

K8 = Generation("Opteron_G2")
K10 = Generation("Opteron_G3")
BULLDOZER = Generation("Opteron_G4", may=("ibpb", "virt-ssbd"))
PILEDRIVER = Generation("Opteron_G5", may=("ibpb", "virt-ssbd"))
JAGUAR = Generation("Opteron_G3", flags=("avx", "xsave", "f16c", "movbe", "aes"), may=("ibpb",))
ZEN1 = Generation("EPYC", may=("ibpb", "virt-ssbd", "amd-ssbd"), may_hide=("SBPB", "IBPB_BRTYPE"))
ZEN2 = Generation(
    "EPYC-Rome",
    flags=("ibpb",),
    may=("ibrs", "amd-stibp", "amd-ssbd", "virt-ssbd"),
    may_hide=("SBPB", "IBPB_BRTYPE", "AMD_STIBP_ALWAYS_ON"),
)
ZEN3 = Generation(
    "EPYC-Milan",
    flags=("ibpb", "ibrs", "amd-stibp", "amd-ssbd"),
    hidden=("BTC_NO",),
    may_hide=("SBPB", "IBPB_BRTYPE", "VERW_CLEAR", "AMD_IBPB_RET", "AMD_STIBP_ALWAYS_ON", "NULL_SEL_CLR_BASE"),
)
ZEN4 = Generation(
    "EPYC-Milan",
    flags=("ibpb", "ibrs", "amd-stibp", "amd-ssbd"),
    hidden=("BTC_NO", "AMD_IBPB_RET", "NULL_SEL_CLR_BASE", "AMD_STIBP_ALWAYS_ON"),
    may_hide=("AUTOIBRS", "SBPB", "IBPB_BRTYPE", "VERW_CLEAR", "TSA_SQ_NO", "TSA_L1_NO"),
)
ZEN5 = Generation(
    "EPYC-Milan",
    flags=("ibpb", "ibrs", "amd-stibp", "amd-ssbd"),
    hidden=("BTC_NO", "AMD_IBPB_RET", "NULL_SEL_CLR_BASE", "AUTOIBRS", "IBPB_BRTYPE", "SBPB"),
    may_hide=("SRSO_USER_KERNEL_NO", "SRSO_NO", "TSA_SQ_NO", "TSA_L1_NO", "SRSO_BP_SPEC_REDUCE"),
)
DHYANA = Generation("Dhyana", may=("ibpb", "ibrs", "amd-stibp", "amd-ssbd", "virt-ssbd"), may_hide=("SBPB",))
NANO = Generation("Penryn", may=("spec-ctrl", "stibp"))
ZX = Generation("Haswell-noTSX", may=("spec-ctrl", "stibp", "ibpb"))

MODELS: Sequence[Model] = [
    Model(INTEL, 6, (0x0F, 0x16, 0x17, 0x1D), 11, CORE2),
    Model(INTEL, 15, (3, 4, 6), 9, CORE2),
    Model(INTEL, 6, (0x1A, 0x1E, 0x1F, 0x2E), 6, NEHALEM),
    Model(INTEL, 6, (0x25, 0x2C, 0x2F), 5, WESTMERE),
    Model(INTEL, 6, (0x2A, 0x2D), 7, SANDY),
    Model(INTEL, 6, (0x3A, 0x3E), 9, IVY),
    Model(INTEL, 6, (0x3C, 0x3F, 0x45, 0x46), 4, HASWELL),
    Model(INTEL, 6, (0x3D, 0x47, 0x4F, 0x56), 5, BROADWELL),
    Model(INTEL, 6, (0x4E, 0x5E, 0x66), 3, SKYLAKE),
    Model(INTEL, 6, (0x55,), 5, SKYLAKE),
    Model(INTEL, 6, (0x8E, 0x9E), 13, SKYLAKE),
    Model(INTEL, 6, (0x55,), 11, CASCADE),
    Model(INTEL, 6, (0x8E, 0x9E, 0xA5, 0xA6), 13, CASCADE),
    Model(INTEL, 6, (0x6A, 0x6C, 0x7D, 0x7E, 0x9D, 0xA7, 0x8A), 6, ICELAKE),
    Model(INTEL, 6, (0x8C, 0x8D), 2, ICELAKE),
    Model(INTEL, 6, (0x97, 0x9A, 0xB7, 0xBA, 0xBF, 0xBE), 5, ALDER),
    Model(INTEL, 6, (0xAA, 0xAC, 0xB5, 0xBD, 0xC5, 0xC6, 0xCC), 4, ALDER),
    Model(INTEL, 6, (0x8F, 0xCF, 0xAD, 0xAE, 0xD7), 8, SAPPHIRE),
    Model(INTEL, 6, (0xAF, 0xB6, 0xDD), 3, SAPPHIRE),
    Model(INTEL, 19, (1,), 3, SAPPHIRE),
    Model(INTEL, 6, (0x1C, 0x26, 0x27, 0x35, 0x36), 10, BONNELL),
    Model(INTEL, 6, (0x37, 0x4A, 0x4C, 0x4D, 0x5A, 0x75), 9, SILVERMONT),
    Model(INTEL, 6, (0x5C, 0x5F, 0x7A), 10, GOLDMONT),
    Model(INTEL, 6, (0x86, 0x96, 0x9C), 5, TREMONT),
    Model(INTEL, 6, (0x57, 0x85), 1, XEON_PHI),
    Model(AMD, 0x0F, (0x05, 0x41, 0x6B), 2, K8),
    Model(AMD, 0x10, (2, 4, 8, 9, 10), 3, K10),
    Model(AMD, 0x12, (1,), 0, K10),
    Model(AMD, 0x14, (1, 2), 0, K10),
    Model(AMD, 0x15, (1, 2), 2, BULLDOZER),
    Model(AMD, 0x15, (0x10, 0x13, 0x30, 0x38, 0x60, 0x65, 0x70), 1, PILEDRIVER),
    Model(AMD, 0x16, (0, 0x26, 0x30), 1, JAGUAR),
    Model(AMD, 0x17, (0x01, 0x08, 0x11, 0x18, 0x20, 0x50), 2, ZEN1),
    Model(AMD, 0x17, (0x31, 0x47, 0x60, 0x68, 0x71, 0x84, 0x90, 0x98, 0xA0), 2, ZEN2),
    Model(AMD, 0x19, (0x00, 0x01, 0x08, 0x21, 0x30, 0x44, 0x50, 0x5F), 2, ZEN3),
    Model(AMD, 0x19, (0x10, 0x11, 0x18, 0x60, 0x61, 0x74, 0x75, 0x78, 0x7C, 0xA0, 0xAF), 2, ZEN4),
    Model(AMD, 0x1A, (0x02, 0x11, 0x20, 0x24, 0x40, 0x44, 0x50, 0x60, 0x70, 0x80), 2, ZEN5),
    Model(HYGON, 0x18, (0, 1, 2, 4, 6), 2, DHYANA),
    Model(CENTAUR, 6, (0x0F,), 14, NANO),
    Model(CENTAUR, 7, (0x1B, 0x3B), 2, ZX),
    Model(ZHAOXIN, 7, (0x1B, 0x3B, 0x5B), 2, ZX),
    Model(ZHAOXIN, 6, (0x19,), 2, ZX),
]

KVM = {
    "KVM_NOP_IO_DELAY": 1,
    "KVM_ASYNC_PF": 4,
    "KVM_STEAL_TIME": 5,
    "KVM_PV_EOI": 6,
    "KVM_PV_UNHALT": 7,
    "KVM_PV_TLB_FLUSH": 9,
    "KVM_PV_SEND_IPI": 11,
    "KVM_PV_SCHED_YIELD": 13,
}
"""Bits of what KVM may announce, but not its clock: the kernel would read it before it is stopped."""

ANY_FLAG = (
    *("spec-ctrl", "stibp", "ssbd", "md-clear", "arch-capabilities", "core-capability", "ibpb", "ibrs", "amd-stibp"),
    *("amd-ssbd", "virt-ssbd", "amd-no-ssb", "rtm", "hle", "fsrm", "erms", "smap", "smep", "fsgsbase", "rdrand"),
    *("rdseed", "umip", "pku", "rdpid", "clwb", "clflushopt", "topoext", "rdtscp", "xsave", "xsaveopt", "avx"),
    *("wbnoinvd", "movdiri", "waitpkg", "invtsc", "pdpe1gb", "nrip-save", "hypervisor"),
)
"""QEMU's words for features that an odd machine has or lacks."""

ANY_LATE = (
    *("IBRS", "IBPB", "STIBP", "SSBD", "IBRS_ENHANCED", "AMD_SSBD", "VIRT_SSBD", "LS_CFG_SSBD", "SPEC_CTRL_SSBD"),
    *(
        "MSR_SPEC_CTRL",
        "MSR_TSX_CTRL",
        "RTM",
        "FSRM",
        "FSRS",
        "ERMS",
        "FSGSBASE",
        "XMM2",
        "LFENCE_RDTSC",
        "AVX",
        "CLWB",
    ),
    *("BHI_CTRL", "RRSBA_CTRL", "VERW_CLEAR", "IBPB_BRTYPE", "SBPB", "SRSO_NO", "SRSO_USER_KERNEL_NO", "HYPERVISOR"),
    *("CLFLUSHOPT", "MD_CLEAR", "FLUSH_L1D", "SRBDS_CTRL", "HYBRID_CPU", "UMIP", "PKU", "REP_GOOD", "CONSTANT_TSC"),
    *("ZEN1", "ZEN2", "ZEN3", "ZEN4", "ZEN5", "AUTOIBRS", "SELFSNOOP", "TOPOEXT", "RDRAND", "PGE", "PAT"),
    *("BUG_SPECTRE_V1", "BUG_SPECTRE_V2", "BUG_SPEC_STORE_BYPASS", "BUG_MDS", "BUG_MSBDS_ONLY"),
    *("BUG_TAA", "BUG_MMIO_STALE_DATA", "BUG_RETBLEED", "BUG_SRSO", "BUG_RFDS", "BUG_BHI", "BUG_ITS", "BUG_GDS"),
    *("BUG_ITS_NATIVE_ONLY", "BUG_TSA", "BUG_VMSCAPE", "BUG_EIBRS_PBRSB", "BUG_SWAPGS", "BUG_SRBDS", "BUG_L1TF"),
    *("BUG_NULL_SEG", "BUG_SYSRET_SS_ATTRS", "BUG_IBPB_NO_RET", "BUG_SMT_RSB"),
)
"""Features and bugs, by the kernel's names, that an odd machine gets or loses when the kernel begins to decide.

Not those that the kernel uses before it is stopped, or QEMU would have to have them; nor meltdown, on which it has
decided by then.
"""

UNSAFE = ("xsaves", "invpcid", "pcid", "la57")
"""What a forced CPU must not have: the kernel would use it, and QEMU cannot do it."""
