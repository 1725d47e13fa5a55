"""Reading back compares with what was written: whatever an answer says otherwise is refused, whoever changed it."""

import pytest

from pvspec.x86 import encode
from pvspec.x86.assembler import AsmErrors, assemble
from pvspec.x86.decode import read
from pvspec.x86.intel import AsmError, Statement
from pvspec.x86.intel_parser import parse_statement
from pvspec.x86.readback import check_reading
from pvspec.x86.statements import StatementCache


def says(bits: int, written: str, data: str) -> bool:
    reading = read(bytes.fromhex(data), bits)
    assert reading is not None
    try:
        check_reading(parse_statement(written), reading, bits, sizes_may_lack=True)
    except AsmError:
        return False
    return True


@pytest.mark.parametrize(
    ("bits", "written", "same", "other"),
    [
        (32, "mov eax, ds:[bp]", "3e678b4600", "678b4600"),
        (32, "mov eax, ss:[bp]", "678b4600", "3e678b4600"),
        (32, "mov eax, ss:[bp]", "36678b4600", "67368b07"),
        (32, "mov eax, [bp]", "678b4600", "36678b4600"),
        (32, "mov eax, ds:[ebp]", "3e8b4500", "8b4500"),
        (32, "mov eax, ss:[esp]", "8b0424", "3e8b0424"),
        (32, "mov eax, ss:[ebp*2]", "368b046d00000000", "8b046d00000000"),
        (32, "mov eax, ss:[eax + ebp]", "368b0428", "8b4405 00"),
        (32, "mov eax, fs:[eax]", "648b00", "8b00"),
        (32, "mov eax, [eax]", "8b00", "648b00"),
        (32, "ds mov eax, [eax]", "3e8b00", "8b00"),
        (64, "mov eax, ds:[rbp]", "3e8b4500", "8b4500"),
        (32, "mov eax, [bx]", "678b07", "8b07"),
        (32, "mov eax, [ebx]", "8b03", "678b00"),
        (64, "mov eax, [ecx]", "678b01", "8b01"),
        (32, "push dword ptr [eax]", "ff30", "66ff30"),
        (32, "mov byte ptr [eax], 1", "c60001", "c70001000000"),
        (32, "mov ds, eax", "8ed8", "8ec0"),
        (32, "mov ds, ax", "8ed8", "8ed9"),
        (32, "lar eax, cx", "0f02c1", "0f02c2"),
        (32, "lar ax, cx", "660f02c1", "0f02c1"),
        (64, "lar rax, cx", "480f02c1", "0f02c1"),
        (32, "xchg eax, [ebx]", "8703", "870b"),
        (32, "lock inc dword ptr [eax]", "f0ff00", "ff00"),
        (32, "inc dword ptr [eax]", "ff00", "f0ff00"),
        (32, "movzx eax, cl", "0fb6c1", "0fbec1"),
        (32, "fld qword ptr [edi]", "dd07", "d907"),
        (32, "fsub st(3), st", "dceb", "d8e3"),
        (32, "fsub st(3), st", "dceb", "dce3"),
    ],
)
def test_only_what_was_written(bits: int, written: str, same: str, other: str) -> None:
    assert says(bits, written, same)
    assert not says(bits, written, other)


@pytest.mark.parametrize(
    "source", ["mov eax, ds:[bp]", "mov eax, ss:[eax]", "mov eax, fs:[sym]", "inc byte ptr es:[ebp]"]
)
def test_what_is_lost_on_the_way_is_missed(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert assemble(source, 32, ("sym",), StatementCache())

    def lossy(statement: Statement) -> Statement:
        operands = (o if not hasattr(o, "segment") else o.changed(segment=None) for o in statement.operands)
        return statement.changed(operands=tuple(operands))

    monkeypatch.setattr(encode, "_without_default_segment", lossy)
    with pytest.raises(AsmErrors):
        assemble(source, 32, ("sym",), StatementCache())
