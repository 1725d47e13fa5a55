"""The CPU features that a booted kernel decided by: the words of its boot_cpu_data.x86_capability."""

from __future__ import annotations

from . import boot

WORDS = 24  # 22 words of features and 2 of bugs, in Debian's 6.1
# /proc/cpuinfo's names of two words that the CPU reports itself (arch/x86/include/asm/cpufeatures.h); "-": not shown
_WORD_0 = (
    "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 "
    "ss ht tm ia64 pbe"
)
_WORD_4 = (
    "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 "
    "x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"
)


def features(dump: boot.Dump) -> set[int]:
    """Feature numbers, word * 32 + bit; LookupError if the words are not found in the dump."""
    cpuinfo = dump.files["cpuinfo"].decode()
    flags = set(next(line for line in cpuinfo.splitlines() if line.startswith("flags")).split(":")[1].split())
    (first, first_mask), (fourth, fourth_mask) = (_word(names, flags) for names in (_WORD_0, _WORD_4))
    memory, at = dump.memory, -4
    while (at := memory.find(first.to_bytes(4, "little"), at + 4)) >= 0:
        words = [int.from_bytes(memory[at + 4 * n :][:4], "little") for n in range(WORDS)]
        if at % 4 == 0 and words[0] & first_mask == first and words[4] & fourth_mask == fourth:
            return {32 * number + bit for number, word in enumerate(words) for bit in range(32) if word >> bit & 1}
    raise LookupError("the words of the CPU's features are not in the dump")


def _word(names: str, flags: set[str]) -> tuple[int, int]:
    """The bits of the flags that are set, and of all that would show."""
    bits = list(enumerate(names.split()))
    return sum(1 << n for n, name in bits if name in flags), sum(1 << n for n, name in bits if name != "-")
