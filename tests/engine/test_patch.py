"""The patch function and `pad`: one site, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from pvspec.engine.errors import BindError, PatchBug, PatchError
from pvspec.engine.guards import CpuHas
from pvspec.engine.spec import Bug, Chain, Code, Field, Hole, Keep, Layout, Query, Rom
from pvspec.engine.text import text_poke
from tests.engine.samples import NOPS, make_kernel, make_spec, query, rel32, rom


def filled(hole: Hole, value: int, bits: int = 32) -> str:
    """The field of an op that has one hole behind its opcode, hexadecimal."""
    code = Code("a.pvs:4", None, data=b"\xb8" + bytes(hole.size), holes=(hole,))
    insnbuf = bytearray(16)
    kernel = make_kernel(make_spec(bits, rules={"op": (code,)}), symbols={"sym": value})
    assert kernel.patch(100, 0, insnbuf, 0x1000, 16) == 1 + hole.size
    return insnbuf[1 : 1 + hole.size].hex()


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize(
    ("type", "clobber", "size", "addr", "length", "message"),
    [
        (9, 0, 8, 0x1000, 4, "pv has no op 9"),
        (-1, 0, 8, 0x1000, 4, "pv has no op -1"),
        (1, 0, 8, 0x1000, -1, "-1 bytes: a site holds 0 to 250"),
        (1, 0, 999, 0x1000, 251, "251 bytes: a site holds 0 to 250"),
        (1, 0, 3, 0x1000, 4, "insnbuf holds 3 bytes, the site has 4"),
        (4, 0, 3, 0x1000, 4, "insnbuf holds 3 bytes, the site has 4"),
        (1, 0, 8, -1, 4, "-0x1 is not a 32-bit address"),
        (1, 0, 8, 1 << 32, 4, "0x100000000 is not a 32-bit address"),
        (5, 7, 8, 1 << 80, 6, "0x100000000000000000000 is not a 32-bit address"),
        (1, -1, 8, 0x1000, 4, "a clobber mask of -0x1: it has 16 bits"),
        (1, 1 << 16, 8, 0x1000, 4, "a clobber mask of 0x10000: it has 16 bits"),
        (100, 0, 8, 0x1000, 4, "native, op stops: a.pvs:5: no room"),
        (101, 0, 8, 0x1000, 5, "native, op lost: symbol nowhere is not bound"),
        (200, 1, 8, 0x1000, 5, "native, op op200: the target of op op200 (200) is not bound"),
    ],
)
def test_refused(type: int, clobber: int, size: int, addr: int, length: int, message: str, again: bool) -> None:
    rules: dict[str, Chain] = {"stops": (Bug("a.pvs:5", message="no room"),), "lost": (rel32(b"\xe8", "nowhere"),)}
    kernel = make_kernel(make_spec(rules=rules), targets={5: 0x2000})
    if again:
        for op, mask, site in ((1, 0, 4), (4, 0, 4), (5, 7, 6)):
            kernel.patch(op, mask, bytearray(8), 0x1000, site)
    insnbuf = bytearray(b"\xaa") * size
    with pytest.raises(PatchError) as error:
        kernel.patch(type, clobber, insnbuf, addr, length)
    assert str(error.value) == message
    assert insnbuf == b"\xaa" * size


def test_the_parameters_are_those_of_the_kernel() -> None:
    insnbuf = bytearray(b"\xaa" * 8)
    assert make_kernel().patch(type=1, clobber=0, insnbuf=insnbuf, addr=0x1000, len=8) == 1
    assert insnbuf.hex() == "faaaaaaaaaaaaaaa"


def test_kept_is_the_whole_length() -> None:
    kernel = make_kernel(targets={5: 0x2000})
    insnbuf = bytearray(b"\xaa" * 8)
    for type, clobber, length in ((4, 0, 8), (1, 0, 0), (2, 0, 1), (5, 6, 8), (5, 7, 4)):
        assert kernel.patch(type, clobber, insnbuf, 0x1000, length) == length
    assert insnbuf == b"\xaa" * 8


def test_no_arm_is_tried_after_a_keep() -> None:
    kernel = make_kernel(make_spec(rules={"keeps": (Keep("a.pvs:1"), Code("a.pvs:2", data=b"\xfa"))}))
    insnbuf = bytearray(b"\xaa" * 2)
    assert kernel.patch(100, 0, insnbuf, 0x1000, 2) == 2
    assert insnbuf == b"\xaa" * 2


@pytest.mark.parametrize(("features", "code"), [((), "fb"), (("FAST",), "fa")])
def test_an_arm_whose_guard_does_not_hold_declines(features: tuple[str, ...], code: str) -> None:
    rule = Code("a.pvs:1", CpuHas(3), data=b"\xfa"), Code("a.pvs:2", data=b"\xfb")
    insnbuf = bytearray(1)
    make_kernel(make_spec(rules={"asks": rule}), features=features).patch(100, 0, insnbuf, 0x1000, 1)
    assert insnbuf.hex() == code


def test_an_op_without_a_rule_has_that_of_all_others() -> None:
    spec = make_spec(rules={"own": (Code("a.pvs:1", data=b"\xfa"),)})
    native = spec.backends["native"]
    rules = {op: chain for op, chain in native.rules.items() if op != "op1"}
    native = native.changed(rules=rules, otherwise=(Code("a.pvs:2", data=b"\xfb"),))
    kernel, insnbuf = make_kernel(spec.changed(backends={"native": native})), bytearray(2)
    kernel.patch(100, 0, insnbuf, 0x1000, 1)
    kernel.patch(1, 0, memoryview(insnbuf)[1:], 0x1000, 1)
    assert insnbuf.hex() == "fafb"


@pytest.mark.parametrize(("symbol", "distance"), [("eip", 0x3000), ("target", 0x2000)])
def test_a_site_keeps_what_it_is_from_answer_to_answer(symbol: str, distance: int) -> None:
    """A rom's answer that asks another rom: the first one's address still stands, and so does the site's op."""
    kind = Layout("", 1, (Field("type", 0, 8),))
    last = Rom(kind, {2: (rel32(b"\xe8", symbol),)}, ())
    spec = make_spec(
        rules={"asks": (query(),)}, roms={"relocation": rom(1, (Query("a.pvs:1", rom="kind"),)), "kind": last}
    )
    answers = {"relocation": lambda argument: 1 << 32 | 0x3000, "kind": lambda argument: 2}
    insnbuf = bytearray(5)
    assert make_kernel(spec, targets={100: 0x2000}, rom=answers).patch(100, 7, insnbuf, 0, 5) == 5
    assert insnbuf.hex() == "e8" + (distance - 5).to_bytes(4, "little").hex()


@pytest.mark.parametrize("type", [1, 5, 100])
def test_an_insnbuf_that_cannot_be_written(type: int) -> None:
    spec = make_spec(rules={"asks": (query(),)}, roms={"relocation": rom(1, (rel32(b"\xe8", "eip"),))})
    kernel = make_kernel(spec, targets={5: 0x2000}, rom={"relocation": lambda call: 1 << 32})
    with pytest.raises(PatchError, match="insnbuf cannot be written: "):
        kernel.patch(type, 7, b"\xaa" * 8, 0x1000, 8)


@pytest.mark.parametrize(
    ("addr", "distance"),
    [(0x1000, "fb0f0000"), (0x1FFB, "00000000"), (0x3000, "fbefffff"), (0xFFFFF000, "fb2f0000"), (0, "fb1f0000")],
)
def test_a_branch_counts_from_the_site_and_wraps(addr: int, distance: str) -> None:
    insnbuf = bytearray(5)
    assert make_kernel(targets={6: 0x2000}).patch(6, 0, insnbuf, addr, 5) == 5
    assert insnbuf.hex() == "e9" + distance


@pytest.mark.parametrize("addr", [0x1000, 0x1001, 2**64 - 0x1000])
def test_reach_on_64_bits(addr: int) -> None:
    kernel = make_kernel(make_spec(64), targets={6: 0x80001005})
    insnbuf = bytearray(5)
    if addr == 0x1001:
        kernel.patch(6, 0, insnbuf, addr, 5)
        assert insnbuf.hex() == "e9ffffff7f"
        return
    with pytest.raises(PatchError) as error:
        kernel.patch(6, 0, insnbuf, addr, 5)
    assert str(error.value) == f"a.pvs:9: the target is out of reach from {addr:#x}"
    assert insnbuf == bytes(5)


@pytest.mark.parametrize(
    ("addr", "code"), [(0x1000, "eb7e"), (0x0FFF, "eb7f"), (0x1100, "eb80"[:2] + "7e"), (0x10FE, "eb80")]
)
def test_a_short_branch(addr: int, code: str) -> None:
    hole = Hole(1, 1, "target", 0, True, 2, True)
    kernel = make_kernel(
        make_spec(rules={"hops": (Code("a.pvs:4", None, data=b"\xeb\x00", holes=(hole,)),)}), targets={100: 0x1080}
    )
    insnbuf = bytearray(2)
    if addr == 0x1100:
        with pytest.raises(PatchError, match=r"^a\.pvs:4: the target is out of reach from 0x1100$"):
            kernel.patch(100, 0, insnbuf, addr, 2)
        return
    assert kernel.patch(100, 0, insnbuf, addr, 2) == 2
    assert insnbuf.hex() == code


@pytest.mark.parametrize(
    ("hole", "value", "bits", "field"),
    [
        (Hole(1, 4, "sym"), 0xC0100000, 32, "000010c0"),
        (Hole(1, 4, "sym", addend=-1), 0, 32, "ffffffff"),
        (Hole(1, 1, "sym", signed=True), 0xFFFFFF80, 32, "80"),
        (Hole(1, 1, "sym"), 0xFF, 32, "ff"),
        (Hole(1, 4, "sym", signed=True), 2**64 - 2**31, 64, "00000080"),
        (Hole(1, 8, "sym"), 2**64 - 1, 64, "ff" * 8),
    ],
)
def test_absolute_fields(hole: Hole, value: int, bits: int, field: str) -> None:
    assert filled(hole, value, bits) == field


@pytest.mark.parametrize(
    ("hole", "value", "bits", "message"),
    [
        (Hole(1, 1, "sym"), 256, 32, "0x100 does not fit a field of 1 bytes"),
        (Hole(1, 1, "sym", signed=True), 128, 32, "0x80 does not fit a field of 1 bytes"),
        (Hole(1, 4, "sym", signed=True), 2**31, 64, "0x80000000 does not fit a field of 4 bytes"),
        (Hole(1, 4, "sym"), 2**32, 64, "0x100000000 does not fit a field of 4 bytes"),
    ],
)
def test_fields_that_are_too_small(hole: Hole, value: int, bits: int, message: str) -> None:
    with pytest.raises(PatchError) as error:
        filled(hole, value, bits)
    assert str(error.value) == f"native, op op: a.pvs:4: sym: {message}"


@pytest.mark.parametrize("name", ["type", "op", "name", "number"])
def test_a_symbol_may_have_any_name(name: str) -> None:
    kernel = make_kernel(make_spec(rules={"op": (rel32(b"\xe8", name),)}), symbols={name: 0x2000})
    insnbuf = bytearray(5)
    kernel.patch(100, 0, insnbuf, 0x1000, 5)
    assert insnbuf.hex() == "e8fb0f0000"


def test_a_rom_is_asked_for_each_site() -> None:
    spec = make_spec(rules={"asks": (query(),)}, roms={"relocation": rom(1, (rel32(b"\xe8", "eip"),))})
    answers = iter([1 << 32 | 0x2000, 9 << 32, 1 << 32 | 0x3000, 1 << 40])
    kernel, insnbuf = make_kernel(spec, rom={"relocation": lambda call: next(answers)}), bytearray(5)
    assert kernel.patch(100, 0, insnbuf, 0x1000, 5) == 5
    assert insnbuf.hex() == "e8fb0f0000"
    with pytest.raises(PatchBug, match=r"^native, op asks: a\.pvs:8: unknown answer$"):
        kernel.patch(100, 0, insnbuf, 0x1000, 5)
    kernel.patch(100, 0, insnbuf, 0x1000, 5)
    assert insnbuf.hex() == "e8fb1f0000"
    with pytest.raises(PatchError) as error:
        kernel.patch(100, 0, insnbuf, 0x1000, 5)
    assert str(error.value) == "native, op asks: a.pvs:7: rom relocation answered 0x10000000000, more than 5 bytes"


@pytest.mark.parametrize("length", range(20))
@pytest.mark.parametrize("used", range(3))
def test_pad(used: int, length: int) -> None:
    insnbuf = bytearray(b"\xaa" * 24)
    if used > length:
        with pytest.raises(PatchError, match=f"^{used} bytes were used of a site of {length}$"):
            make_kernel().pad(insnbuf, used, length)
        return
    make_kernel().pad(insnbuf, used, length)
    left = length - used
    nops = NOPS[3] * (left // 4) + (NOPS[left % 4 - 1] if left % 4 else b"")
    assert insnbuf == b"\xaa" * used + nops + b"\xaa" * (24 - length)


@pytest.mark.parametrize(
    ("insnbuf", "used", "length", "message"),
    [
        (bytearray(4), -1, 4, "-1 bytes were used of a site of 4"),
        (bytearray(4), 5, 4, "5 bytes were used of a site of 4"),
        (bytearray(4), 2, 6, "insnbuf cannot be padded from 2 to 6: "),
        (bytes(8), 2, 6, "insnbuf cannot be padded from 2 to 6: "),
    ],
)
def test_pad_refuses(insnbuf: Any, used: int, length: int, message: str) -> None:
    before = bytes(insnbuf)
    with pytest.raises(PatchError) as error:
        make_kernel().pad(insnbuf, used, length)
    assert str(error.value).startswith(message)
    assert insnbuf == before


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        (bytearray(4), -2, "2 bytes at offset -2 are outside a text of 4 bytes"),
        (bytearray(4), 3, "2 bytes at offset 3 are outside a text of 4 bytes"),
        (bytes(4), 0, "the code at offset 0 cannot be written: "),
    ],
)
def test_text_poke_refuses(text: Any, offset: int, message: str) -> None:
    with pytest.raises(PatchError) as error:
        text_poke(text, offset, b"\x66\x90")
    assert str(error.value).startswith(message)
    assert text == bytes(4)


def test_text_poke_takes_any_bytes() -> None:
    text = bytearray(8)
    text_poke(text, 0, b"\x66\x90")
    text_poke(text, 2, bytearray(b"\x0f\x1f\x00"))
    text_poke(text, 5, memoryview(b"\xfa"))
    assert text.hex() == "66900f1f00fa0000"


def test_text_poke_of_no_bytes() -> None:
    text: Any = bytearray(b"\xaa" * 4)
    code: Any = "sti"
    with pytest.raises(PatchError, match="the code at offset 1 cannot be written: "):
        text_poke(text, 1, code)
    assert text == b"\xaa" * 4


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"targets": {1: -1}}, "the target of op 1 is bound to -0x1, which is not a 32-bit address"),
        ({"symbols": {"f": 1 << 32}}, "symbol f is bound to 0x100000000, which is not a 32-bit address"),
        ({"nops": "k7"}, "there is no nop table 'k7'; there are: nops"),
        ({"features": ["SLOW"]}, "there is no feature 'SLOW'; there are: FAST"),
        ({"options": {"pae": True}}, "there is no option 'pae'; there are: none"),
    ],
)
def test_wrong_bindings(bound: dict[str, Any], message: str) -> None:
    with pytest.raises(BindError) as error:
        make_kernel(**bound)
    assert str(error.value) == message
