"""Whole tables: by columns, record by record and site by site, the image is that of the model."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvspec.engine.errors import PatchError
from pvspec.engine.records import PatchSite
from pvspec.engine.spec import Bug, Code
from pvspec.engine.text import text_poke
from tests.engine.samples import (
    CLBR_ANY,
    LAYOUTS,
    OPS,
    make_kernel,
    make_spec,
    make_table,
    model,
    poke_to,
    query,
    rel32,
    rom,
)

BASES = {32: 0xC0100000, 64: 0xFFFFFFFF81000000}


@st.composite
def workloads(draw: st.DrawFn, bits: int) -> tuple[bytes, list[PatchSite], dict[int, int]]:
    """A text, disjoint sites in any order, and targets."""
    base, sites, end = BASES[bits], [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 15)), max_size=40)):
        op, clobber = draw(st.sampled_from(sorted(OPS))), draw(st.sampled_from([0, 1, 2, 5, CLBR_ANY, 0xFFFF]))
        sites.append(PatchSite(base + end + gap, op, length, clobber))
        end += gap + length
    text = draw(st.randoms(use_true_random=False)).randbytes(end + draw(st.integers(0, 9)))
    near = st.integers(max(0, base - 2**30), min(2**bits - 1, base + 2**30))
    targets = {op: draw(near) for op in OPS}
    return text, draw(st.permutations(sites)) if draw(st.booleans()) else sites, targets


def expected(text: bytes, sites: list[PatchSite], targets: dict[int, int], bits: int) -> bytes:
    image = bytearray(text)
    for site in sites:
        start = site.addr - BASES[bits]
        image[start : start + site.len] = model(text[start : start + site.len], site, targets, bits)
    return bytes(image)


@pytest.mark.parametrize("bits", [32, 64])
class TestAgainstTheModel:
    @given(data=st.data())
    @settings(max_examples=150)
    def test_by_columns_and_record_by_record(self, bits: int, data: st.DataObject) -> None:
        text, sites, targets = data.draw(workloads(bits))
        for layout in LAYOUTS[bits]:
            kernel = make_kernel(make_spec(bits, layout), targets=targets)
            image = bytearray(text)
            assert kernel.apply(make_table(sites, layout), image, BASES[bits]) == len(sites)
            assert image == expected(text, sites, targets, bits)

    @given(data=st.data())
    @settings(max_examples=100)
    def test_one_poke_a_site_in_the_order_of_the_table(self, bits: int, data: st.DataObject) -> None:
        text, sites, targets = data.draw(workloads(bits))
        pokes: list[tuple[int, bytes]] = []
        kernel = make_kernel(make_spec(bits), targets=targets)
        kernel.apply(make_table(sites, LAYOUTS[bits][0]), text, BASES[bits], poke=poke_to(pokes))
        assert [(address, len(code)) for address, code in pokes] == [(site.addr, site.len) for site in sites]
        image = bytearray(text)
        for address, code in pokes:
            text_poke(image, address - BASES[bits], code)
        assert image == expected(text, sites, targets, bits)

    @given(data=st.data())
    @settings(max_examples=100)
    def test_site_by_site(self, bits: int, data: st.DataObject) -> None:
        text, sites, targets = data.draw(workloads(bits))
        kernel = make_kernel(make_spec(bits), targets=targets)
        image = bytearray(text)
        for site in sites:
            start = site.addr - BASES[bits]
            insnbuf = image[start : start + site.len]
            used = kernel.patch(site.type, site.clobber, insnbuf, site.addr, site.len)
            assert insnbuf[used:] == text[start + used : start + site.len]
            kernel.pad(insnbuf, used, site.len)
            text_poke(image, start, insnbuf)
        assert image == expected(text, sites, targets, bits)


@pytest.mark.parametrize("bits", [32, 64])
def test_many_portions(bits: int) -> None:
    sites = [PatchSite(BASES[bits] + 12 * n, 1 + n % 7, 5 + n % 8, n % 8) for n in range(10_000)]
    text = bytes(range(256)) * 500
    targets = dict.fromkeys(OPS, BASES[bits] + 77)
    for order in (sites, sites[::-1]):
        image = bytearray(text)
        make_kernel(make_spec(bits), targets=targets).apply(make_table(order, LAYOUTS[bits][0]), image, BASES[bits])
        assert image == expected(text, sites, targets, bits)


@pytest.mark.parametrize("index", [0, 4095, 4096, 4097, 8191, 8192, 9998])
def test_an_overlap_is_found_wherever_it_is(index: int) -> None:
    sites = [PatchSite(0x1000 + 8 * n, 1, 8, 0) for n in range(10_000)]
    sites[index] = PatchSite(0x1000 + 8 * index, 1, 9, 0)
    image = bytearray(80_008)
    with pytest.raises(PatchError) as error:
        make_kernel().apply(make_table(sites), image, 0x1000)
    assert str(error.value) == f"site {0x1000 + 8 * index:#x} overlaps site {0x1008 + 8 * index:#x}"
    assert image == bytes(80_008)


# ---- buffers


def ctypes_text() -> Any:
    return (ctypes.c_uint16 * 8)()


@pytest.mark.parametrize(
    "text",
    [
        bytearray(16),
        memoryview(bytearray(16)),
        memoryview(bytearray(16)).cast("B", (4, 4)),
        array("B", bytes(16)),
        array("I", bytes(16)),
        mmap.mmap(-1, 16),
        ctypes_text(),
    ],
    ids=lambda text: type(text).__name__,
)
def test_any_writable_buffer(text: Any) -> None:
    kernel = make_kernel(targets={6: 0x2000})
    table = make_table([PatchSite(0x1001, 2, 3, 0), PatchSite(0x1008, 6, 6, 0)])
    assert kernel.apply(table, text, 0x1000) == 2
    assert bytes(text).hex(" ") == "00 9c 58 90 00 00 00 00 e9 f3 0f 00 00 90 00 00"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bytes(16), "the text is a read-only bytes; a bytearray or mmap can be patched"),
        (memoryview(bytes(16)), "the text is a read-only memoryview; a bytearray or mmap can be patched"),
        (
            mmap.mmap(-1, 16, access=mmap.ACCESS_READ),
            "the text is a read-only mmap; a bytearray or mmap can be patched",
        ),
        ("text", "the text is not a buffer of bytes: memoryview: a bytes-like object is required, not 'str'"),
        (
            memoryview(bytearray(32))[::2],
            "the text is not a buffer of bytes: memoryview: casts are restricted to C-contiguous views",
        ),
    ],
    ids=["bytes", "memoryview", "mmap", "str", "strided"],
)
def test_no_writable_buffer(text: Any, message: str) -> None:
    with pytest.raises(PatchError) as error:
        make_kernel().apply(make_table([PatchSite(0x1000, 1, 2, 0)]), text, 0x1000)
    assert str(error.value) == message


def test_the_text_may_hold_its_own_table() -> None:
    text = bytearray(make_table([PatchSite(0x1000, 1, 4, 0), PatchSite(0x1008, 2, 4, 0)]))
    make_kernel().apply(memoryview(text), text, 0x1000)
    assert text.hex(" ", 4) == "fa0f1f00 01040000 9c586690 02040000"


# ---- nothing is written when anything is wrong

GOOD = PatchSite(0x1000, 1, 4, 0)
RULES = {
    "stops": (Bug("a.pvs:5", message="no room"),),
    "stops_late": (rel32(b"\xe8", clobbers=CLBR_ANY), Bug("a.pvs:6", message="registers in use")),
    "asks": (query(),),
    "lost": (rel32(b"\xe8", "nowhere"),),
    "hops": (Code("a.pvs:4", None, data=b"\xeb\x00", holes=(rel32(b"\xeb").holes[0]._replace(size=1, end=2),)),),
}
STOPS, STOPS_LATE, ASKS, LOST, HOPS = range(100, 105)


@pytest.mark.parametrize("odd", [0, 1], ids=["columns", "records"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (PatchSite(0xFFF, 1, 4, 0), "site 0xfff: its 4 bytes are outside the text"),
        (PatchSite(0x10FD, 1, 4, 0), "site 0x10fd: its 4 bytes are outside the text"),
        (PatchSite(0xFFFFFFFE, 1, 4, 0), "site 0xfffffffe: its 4 bytes are outside the text"),
        (PatchSite(0, 1, 0, 0), "site 0x0: its 0 bytes are outside the text"),
        (PatchSite(0x107D, 1, 4, 0), "site 0x107d: its 4 bytes are outside the text"),
        (PatchSite(0x1000, 1, 4, 0), "two records for site 0x1000"),
        (PatchSite(0x1003, 1, 1, 0), "site 0x1000 overlaps site 0x1003"),
        (PatchSite(0x1002, 1, 0, 0), "site 0x1000 overlaps site 0x1002"),
        (PatchSite(0x103D, 1, 4, 0), "site 0x103d: its 4 bytes are over text_poke, which the poke itself runs"),
        (PatchSite(0x104F, 1, 1, 0), "site 0x104f: its 1 bytes are over text_poke, which the poke itself runs"),
        (PatchSite(0x1010, 9, 4, 0), "site 0x1010: pv has no op 9"),
        (PatchSite(0x1080, 1, 251, 0), "site 0x1080: its 251 bytes are outside the text"),
        (PatchSite(0x1010, STOPS, 4, 0), "site 0x1010: native, op stops: a.pvs:5: no room"),
        (PatchSite(0x1010, STOPS_LATE, 5, 3), "site 0x1010: native, op stops_late: a.pvs:6: registers in use"),
        (PatchSite(0x1010, STOPS_LATE, 4, 7), "site 0x1010: native, op stops_late: a.pvs:6: registers in use"),
        (PatchSite(0x1010, 5, 5, 7), "site 0x1010: native, op op5: the target of op op5 (5) is not bound"),
        (PatchSite(0x1010, LOST, 5, 0), "site 0x1010: native, op lost: symbol nowhere is not bound"),
        (PatchSite(0x1010, ASKS, 5, 0), "site 0x1010: native, op asks: a.pvs:8: unknown answer"),
        (PatchSite(0x1090, HOPS, 2, 0), "site 0x1090: a.pvs:4: the target is out of reach from 0x1090"),
    ],
)
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_nothing_is_written(odd: int, wrong: PatchSite, message: str, last: bool) -> None:
    layout = LAYOUTS[32][odd]
    spec = make_spec(32, layout, RULES, protects=["text_poke"], roms={"relocation": rom(1, (rel32(b"\xe8", "eip"),))})
    kernel = make_kernel(
        spec,
        targets={STOPS_LATE: 0x2000, HOPS: 0x1010},
        rom={"relocation": lambda call: 9 << 32},
        protect={"text_poke": (0x1040, 0x1050)},
    )
    text, pokes = bytearray(range(256)), list[tuple[int, bytes]]()
    table = make_table([GOOD, wrong] if last else [wrong, GOOD], layout)
    executable = [(0x1080, 0x3000), (0, 0x107F)]
    for poke in (None, poke_to(pokes)):
        with pytest.raises(PatchError) as error:
            kernel.apply(table, text, 0x1000, executable=executable, poke=poke)
        record = f"record {int(last)}, " if message.startswith("site ") and " overlaps " not in message else ""
        assert str(error.value) == record + message
        assert text == bytes(range(256))
        assert not pokes


def test_a_site_longer_than_max_len() -> None:
    text = bytearray(300)
    with pytest.raises(PatchError) as error:
        make_kernel().apply(make_table([PatchSite(0x1000, 1, 251, 0)]), text, 0x1000)
    assert str(error.value) == "record 0, site 0x1000: 251 bytes: a site holds 0 to 250"


def test_a_site_over_the_end_of_an_executable_range() -> None:
    table, ranges = make_table([PatchSite(0x1010, 1, 4, 0)]), [(0x1000, 0x1013), (0x1013, 0x1100)]
    with pytest.raises(PatchError, match="site 0x1010: its 4 bytes are outside the text"):
        make_kernel().apply(table, bytearray(256), 0x1000, executable=ranges)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (-1, "text from -0x1 to 0xf is not in 32-bit addresses"),
        (0xFFFFFFF8, "text from 0xfffffff8 to 0x100000008 is not in 32-bit addresses"),
        (1 << 80, "text from 0x100000000000000000000 to 0x100000000000000000010 is not in 32-bit addresses"),
    ],
)
def test_text_beyond_the_addresses(base: int, message: str) -> None:
    with pytest.raises(PatchError) as error:
        make_kernel().apply(b"", bytearray(16), base)
    assert str(error.value) == message


def test_text_up_to_the_last_address() -> None:
    text = bytearray(16)
    make_kernel().apply(make_table([PatchSite(0xFFFFFFFC, 1, 4, 0)]), text, 0xFFFFFFF0)
    assert text[-4:].hex() == "fa0f1f00"


def test_an_unbound_protected_function() -> None:
    with pytest.raises(PatchError) as error:
        make_kernel(make_spec(protects=["text_poke"])).apply(b"", bytearray(8), 0)
    assert str(error.value) == ("protected function text_poke is not bound; the poke runs it, so no site may be there")


@pytest.mark.parametrize(("bits", "size"), [(32, 7), (32, 12), (64, 11), (64, 27)])
def test_a_table_cut_short(bits: int, size: int) -> None:
    stride = LAYOUTS[bits][0].size
    with pytest.raises(PatchError) as error:
        make_kernel(make_spec(bits)).apply(bytes(size), bytearray(8), 0)
    assert str(error.value) == f".para: {size} bytes is not a whole number of {stride}-byte records"


def test_padding_missing_behind_the_last_record() -> None:
    sites = [PatchSite(0x1000, 1, 2, 0), PatchSite(0x1004, 2, 2, 0)]
    text = bytearray(8)
    assert make_kernel(make_spec(64)).apply(make_table(sites, LAYOUTS[64][0])[:-4], text, 0x1000) == 2
    assert text.hex(" ", 4) == "fa900000 9c580000"


def test_empty_table_and_sites_of_no_bytes() -> None:
    text = bytearray(8)
    assert make_kernel().apply(b"", text, 0x1000) == 0
    assert make_kernel().apply(make_table([PatchSite(0x1008, 1, 0, 0)]), text, 0x1000) == 1
    assert text == bytes(8)


# ---- sites that are looked at one by one


def test_each_site_gets_an_answer_of_its_own() -> None:
    spec = make_spec(rules={"asks": (query(),)}, roms={"relocation": rom(1, (rel32(b"\xe8", "eip"),))})
    answers = iter(range(0x2000, 0x3000, 0x100))
    asked: list[int] = []

    def relocation(call: int) -> int:
        asked.append(call)
        return 1 << 32 | next(answers)

    text = bytearray(18)
    sites = [PatchSite(0x1006, 100, 6, 0), PatchSite(0x1000, 100, 6, 0), PatchSite(0x100C, 100, 6, 0)]
    make_kernel(spec, rom={"relocation": relocation}).apply(make_table(sites), text, 0x1000)
    assert text.hex(" ", 6) == "e8fb10000090 e8f50f000090 e8ef11000090"
    assert asked == [29, 29, 29]


def test_a_target_beyond_the_end_of_addresses() -> None:
    kernel = make_kernel(targets={6: 0x10})
    text = bytearray(5)
    kernel.apply(make_table([PatchSite(0xFFFFFF00, 6, 5, 0)]), text, 0xFFFFFF00)
    assert text.hex() == "e90b010000"
    kernel = make_kernel(make_spec(64), targets={6: 0x10})
    kernel.apply(make_table([PatchSite(2**64 - 256, 6, 5, 0)], LAYOUTS[64][0]), text, 2**64 - 256)
    assert text.hex() == "e90b010000"


def test_reach_is_found_out_site_by_site() -> None:
    kernel, layout = make_kernel(make_spec(64), targets={6: 0x80000000 + 0x1000 + 5}), LAYOUTS[64][0]
    text = bytearray(32)
    with pytest.raises(PatchError) as error:
        kernel.apply(make_table([PatchSite(0x1010, 6, 5, 0), PatchSite(0x1000, 6, 5, 0)], layout), text, 0x1000)
    assert str(error.value) == "record 1, site 0x1000: a.pvs:9: the target is out of reach from 0x1000"
    assert text == bytes(32)
    kernel.apply(make_table([PatchSite(0x1001, 6, 5, 0)], layout), text, 0x1000)
    assert text[1:6].hex() == "e9ffffff7f"


def test_what_is_out_of_reach_is_not_kept() -> None:
    kernel, layout = make_kernel(make_spec(64), targets={5: 1 << 40}), LAYOUTS[64][0]
    with pytest.raises(PatchError) as error:
        kernel.apply(make_table([PatchSite(0x1000, 5, 5, 7)], layout), bytearray(8), 0x1000)
    assert str(error.value) == "record 0, site 0x1000: a.pvs:9: the target is out of reach from 0x1000"
    assert kernel.apply(make_table([PatchSite(0x1000, 5, 5, 6)], layout), bytearray(8), 0x1000) == 1


def test_several_relative_fields() -> None:
    one = rel32(b"\xe8").holes[0]
    holes = (one, one._replace(offset=6, size=1, end=7))
    code = Code("a.pvs:4", None, data=b"\xe8" + bytes(4) + b"\xeb\x00", holes=holes)
    text = bytearray(16)
    table = make_table([PatchSite(0x1000, 100, 8, 0), PatchSite(0x1008, 100, 8, 0)])
    make_kernel(make_spec(rules={"two": (code,)}), targets={100: 0x1020}).apply(table, text, 0x1000)
    assert text.hex(" ", 8) == "e81b000000eb1990 e813000000eb1190"
