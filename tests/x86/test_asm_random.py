"""Random statements: GNU as's bytes or a refusal, and never an exception of another kind."""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.code import Code
from pvspec.x86.intel import AsmError

Judge = Callable[[list[str], int], list[tuple[int, bytes] | None]]

_MNEMONICS = """
    mov add or adc sbb and sub xor cmp test xchg xadd cmpxchg inc dec neg not mul imul div idiv push pop call jmp lea
    shl sal shr sar rol ror rcl rcr shld shrd bt bts btr btc bsf bsr popcnt bswap movzx movsx movsxd movbe setz setnle
    cmovz cmovnb ret int in out enter leave nop lgdt sidt lldt str sldt smsw lmsw verw lar lsl invlpg clflush fxsave
    xsave xrstor cmpxchg8b cmpxchg16b prefetchw ldmxcsr rdrand rdpid movups movaps movq movd addsd cvtsi2sd crc32
    fld fst fstp fild fistp fadd fsubr fcomi fxch fnstsw fnstcw xbegin movdir64b
    stosb stosd movsb movsd movsq lodsq scasb cmpsb insb outsd pushf popf iret cwd cqo cli sysret endbr64 pause ud2
"""
_REGISTERS = """
    al cl ah bh sil r8b ax cx sp r9w eax ecx esp ebp esi r8d r13d rax rcx rsp rbp r8 r12 r13 cr0 cr3 dr7 ds fs ss xmm0
    xmm1 st st(1)
"""
MNEMONICS, REGISTERS = _MNEMONICS.split(), _REGISTERS.split()
BASES = ("eax", "ecx", "esp", "ebp", "esi", "rax", "rcx", "rsp", "rbp", "r8", "r12", "r13", "bx", "bp", "si", "rip")
INDEXES = ("eax", "ebp", "esp", "rax", "rbp", "r12", "si", "di", "bx")
EDGES = [
    sign * (1 << power) + delta
    for power in (0, 3, 7, 8, 15, 16, 31, 32, 63)
    for sign in (1, -1)
    for delta in (-1, 0, 1)
]

numbers = st.sampled_from(EDGES).map(str) | st.sampled_from([e for e in EDGES if e >= 0]).map(hex)
displacements = st.sampled_from(EDGES).map(lambda number: f"{'-' if number < 0 else '+'} {abs(number):#x}")
addresses = st.one_of(
    st.sampled_from(BASES),
    st.builds("{} {}".format, st.sampled_from(BASES), displacements),
    st.builds("{} + {}*{}".format, st.sampled_from(BASES), st.sampled_from(INDEXES), st.sampled_from([1, 2, 4, 8])),
    st.builds("{}*{} {}".format, st.sampled_from(INDEXES), st.sampled_from([2, 4, 8]), displacements),
    st.builds("{} + {} {}".format, st.sampled_from(BASES), st.sampled_from(INDEXES), displacements),
    numbers,
)
sizes = st.sampled_from(["", "", "byte ptr ", "word ptr ", "dword ptr ", "qword ptr ", "fword ptr ", "xmmword ptr "])
segments = st.sampled_from(["", "", "", "fs:", "gs:", "ds:", "ss:", "cs:", "es:"])
memory = st.builds("{}{}[{}]".format, sizes, segments, addresses)
operands = st.lists(st.sampled_from(REGISTERS) | st.sampled_from(REGISTERS) | memory | numbers, max_size=3)
prefixes = st.sampled_from(["", "", "", "", "lock ", "rep ", "repne ", "cs ", "fs ", "notrack "])
statements = st.builds(
    lambda prefix, mnemonic, operands: f"{prefix}{mnemonic} {', '.join(operands)}".strip(),
    prefixes,
    st.sampled_from(MNEMONICS),
    operands,
)
many = st.lists(statements, min_size=300, max_size=300, unique=True)


def outcome(source: str, bits: int, symbols: tuple[str, ...] = ()) -> Code | tuple[AsmError, ...]:
    try:
        return assemble(source, bits, symbols)
    except AsmErrors as refused:
        return refused.errors


def check_places(errors: tuple[AsmError, ...], source: str) -> None:
    assert errors
    assert all(0 <= error.start <= error.end <= len(source) for error in errors)


# Not shrunk: the message names the statement, and an example is hundreds of them.
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(many, st.sampled_from([32, 64]))
def test_gnu_as_agrees(gnu_as: Judge, statements: list[str], bits: int) -> None:
    answers = {}
    for statement in statements:
        answer = outcome(statement, bits)
        if isinstance(answer, Code):
            answers[statement] = answer.data.hex()
        else:
            check_places(answer, statement)
    for (statement, data), judged in zip(answers.items(), gnu_as(list(answers), bits), strict=True):
        assert judged is not None, f"GNU as refuses {statement}, here it is {data}"
        assert data == judged[1].hex(), statement


@settings(suppress_health_check=list(HealthCheck))
@given(st.text(alphabet="aexsm[]+-*:,;#\n 0189.$%'(){}\u00e9") | st.text(), st.sampled_from([32, 64]))
def test_any_text_is_code_or_refused(text: str, bits: int) -> None:
    answer = outcome(text, bits, ("a", "sym"))
    if isinstance(answer, Code):
        assert sum(i.size for i in answer.instructions) == len(answer.data)
    else:
        check_places(answer, text)
