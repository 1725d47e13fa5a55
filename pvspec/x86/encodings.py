"""What keystone 0.9.2 refuses, or encodes as another instruction: encodings as data (Intel SDM vol. 2, AMD APM 3).

Every row is read back by the disassembler like everything else, so a wrong one is refused and cannot reach a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

_BOTH = """
    endbr64 f30f1efa        endbr32 f30f1efb       serialize 0f01e8    wbnoinvd f30f09     wrmsrns 0f01c6
    pconfig 0f01c5          enclv 0f01c0           setssbsy f30f01e8   saveprevssp f30f01ea
    tdcall 660f01cc         vmgexit f30f01d9           tlbsync 0f01ff
    rdpru 0f01fd            mcommit f30f01fa       ud2 0f0b            int3 cc             movsd a5
"""
_ONLY_32 = """
    pushfd 9c   popfd 9d    iretd cf    iretw 66cf  pushfw 669c  popfw 669d  sysret 0f07  sysexit 0f35
"""
_ONLY_64 = """
    pushfq 9c   popfq 9d    iretd cf    iretw 66cf  pushfw 669c  popfw 669d  iretq 48cf   retfq 48cb
    sysretd 0f07  sysretq 480f07  sysexitq 480f35  psmash f30f01ff  rmpadjust f30f01fe  rmpupdate f20f01fe
    seamcall 660f01cf  clui f30f01ee  stui f30f01ef  testui f30f01ed  uiret f30f01ec
"""


def _rows(*tables: str) -> dict[str, bytes]:
    words = " ".join(tables).split()
    return {name: bytes.fromhex(code) for name, code in zip(words[::2], words[1::2], strict=True)}


def _one_byte(names: str, codes: bytes) -> dict[str, bytes]:
    return {name: bytes([code]) for name, code in zip(names.split(", "), codes, strict=True)}


FIXED = {  # what keystone would get, and the right answer
    32: _rows(_BOTH, _ONLY_32)
    | _one_byte("push es, push cs, push ss, push ds, pop es, pop ss, pop ds", b"\x06\x0e\x16\x1e\x07\x17\x1f")
    | {"clzero eax": b"\x0f\x01\xfc", "pvalidate eax": b"\xf2\x0f\x01\xff"},
    64: _rows(_BOTH, _ONLY_64) | {"clzero rax": b"\x0f\x01\xfc", "pvalidate rax": b"\xf2\x0f\x01\xff"},
}
# GNU as shortens these to another instruction, which does not read back; so they are refused.
for _fixed in FIXED.values():
    _fixed |= {"int 0x3": b"\xcc", "xchg rax, rax": b"\x90"}


class Transplant(NamedTuple):
    """An instruction of one r/m operand: its opcode and ModRM digit, put into the encoding of a donor's operand."""

    prefix: bytes
    opcode: bytes
    digit: int


def _transplant(prefix: str, opcode: str, digit: int) -> Transplant:
    return Transplant(bytes.fromhex(prefix), bytes.fromhex(opcode), digit)


# The donor is keystone's `nop r/m`, which it encodes as the reserved 0f 18 /4 instead of 0f 1f /0.
DONOR_OPCODE, DONOR_DIGIT = bytes.fromhex("0f18"), 4
TRANSPLANTS = {  # by mnemonic and operand size in bytes
    ("nop", 2): _transplant("66", "0f1f", 0),
    ("nop", 4): _transplant("", "0f1f", 0),
    ("jmp", 6): _transplant("", "ff", 5),
    ("call", 6): _transplant("", "ff", 3),
    ("rdpid", 4): _transplant("f3", "0fc7", 7),
    ("incsspd", 4): _transplant("f3", "0fae", 5),
    ("rdsspd", 4): _transplant("f3", "0f1e", 1),
    ("umonitor", 4): _transplant("f3", "0fae", 6),
    ("umwait", 4): _transplant("f2", "0fae", 6),
    ("tpause", 4): _transplant("66", "0fae", 6),
    ("ptwrite", 4): _transplant("f3", "0fae", 4),
    ("rstorssp", 8): _transplant("f3", "0f01", 5),
    ("clrssbsy", 8): _transplant("f3", "0fae", 6),
}

_CONDITION_ALIASES = "z e  nz ne  c b  nae b  nc ae  nb ae  na be  nbe a  pe p  po np  nge l  nl ge  ng le  nle g"
_NAMES = _CONDITION_ALIASES.split()
ALIASES = {
    f"{stem}{alias}": f"{stem}{name}"
    for stem in ("j", "set", "cmov")
    for alias, name in zip(_NAMES[::2], _NAMES[1::2], strict=True)
} | {
    "sal": "shl",
    "loopz": "loope",
    "loopnz": "loopne",
    "fwait": "wait",
    "xlat": "xlatb",
    "lret": "retf",
    "ud2a": "ud2",
}
# GNU as gives these the mode's width; keystone gives them 16 bits, or 64.
ALIASES_BY_MODE = {
    32: {
        "pushf": "pushfd",
        "popf": "popfd",
        "iret": "iretd",
        "pusha": "pushad",
        "popa": "popad",
        "sysretd": "sysret",
    },
    64: {"pushf": "pushfq", "popf": "popfq", "lretq": "retfq", "retq": "ret"},
}
_IMPLYING = ("vmrun", "vmload", "vmsave", "clzero", "pvalidate")
# These are written without the register that their address size implies.
IMPLIED = {32: dict.fromkeys(_IMPLYING, "eax"), 64: dict.fromkeys(_IMPLYING, "rax")}
_WAITING = {name: f"fwait; fn{name[1:]}" for name in ("fstsw", "fstcw", "fstenv", "fsave", "finit", "fclex")}
REFUSED = {  # mnemonics that GNU as warns about or refuses, and what to write instead
    32: {**_WAITING, "salc": None, "retq": "ret", "retn": "ret"},
    64: {
        **_WAITING,
        "salc": None,
        "retn": "ret",
        "iret": "iretq, or iretd for a 32-bit frame",
        "sysret": "sysretq or sysretd",
        "sysexit": "sysexitq",
        "retf": "retfq",
    },
}
CONDITIONS = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"]
BRANCHES = frozenset(
    [f"j{condition}" for condition in CONDITIONS]
    + ["jmp", "call", "loop", "loope", "loopne", "jcxz", "jecxz", "jrcxz", "xbegin"]
)
STRINGS = frozenset(
    f"{stem}{width}" for stem in ("ins", "outs", "movs", "cmps", "stos", "lods", "scas") for width in "bwdq"
)
WORD_STORES = frozenset(("str", "sldt"))  # GNU as drops REX.W here, and for `mov r64, segment`
LONG_VECTORS = frozenset(f"m{n}" for n in (8, 9)) | frozenset(map(str, range(10, 16)))
SEGMENT_QUERIES = frozenset(("lar", "lsl"))  # these read 16 bits of a selector, however wide the register is
FAR_POINTERS = frozenset(("lds", "les", "lss", "lfs", "lgs"))
HIGH_BYTES = frozenset(("ah", "ch", "dh", "bh"))
PREFIX_USERS = {  # prefixes that have no meaning, or another one, before other instructions
    **{name: frozenset((*STRINGS, "ret")) for name in ("rep", "repe", "repz")},
    **{name: STRINGS for name in ("repne", "repnz")},
    "notrack": frozenset(("jmp", "call")),
}
# Instructions whose memory operand is as wide as their register, and those whose size must always be written.
_ONE_WIDTH = """
    mov add or adc sbb and sub xor cmp test xchg xadd cmpxchg imul bt bts btr btc bsf bsr popcnt lzcnt tzcnt movbe
    movnti
"""
ONE_WIDTH = frozenset(_ONE_WIDTH.split()) | {f"cmov{condition}" for condition in CONDITIONS}
ALWAYS_SIZED = frozenset(("movsx", "movzx", "movsxd"))
PREFIX_BYTES = {
    "lock": 0xF0,
    "rep": 0xF3,
    "repe": 0xF3,
    "repz": 0xF3,
    "repne": 0xF2,
    "repnz": 0xF2,
    "es": 0x26,
    "cs": 0x2E,
    "ss": 0x36,
    "ds": 0x3E,
    "fs": 0x64,
    "gs": 0x65,
    "notrack": 0x3E,
}
# GNU as emits legacy prefixes in this order: segment, address size, operand size, lock or repeat.
PREFIX_RANK = {
    0x26: 0,
    0x2E: 0,
    0x36: 0,
    0x3E: 0,
    0x64: 0,
    0x65: 0,
    0x67: 1,
    0x66: 2,
    0xF0: 3,
    0xF2: 3,
    0xF3: 3,
}
# keystone adds an operand-size prefix in 32-bit mode, which would load 24 bits of the table's base
NO_OPERAND_SIZE = frozenset(("lgdt", "lidt", "sgdt", "sidt"))
