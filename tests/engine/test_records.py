"""Records there and back, and many of them at once in the lanes of big integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.engine.errors import PatchError
from pvspec.engine.records import Columns, Grid, Lanes, PatchSite, build_records, parse_records
from pvspec.engine.spec import Field, Layout
from pvspec.engine.text import Extents, in_order, merged
from tests.engine.samples import LAYOUTS, make_table

BITS = Layout(".bits", 6, (Field("cpuid", 0, 15), Field("not", 15, 1), Field("site", 16, 32, True)))


@given(
    st.lists(st.tuples(st.integers(0, 2**15 - 1), st.integers(0, 1), st.integers(-(2**31), 2**31 - 1))),
    st.integers(0, 2**64),
)
def test_there_and_back(values: list[tuple[int, int, int]], address: int) -> None:
    records = [
        {"cpuid": cpuid, "not": flag, "site": address + 6 * index + 2 + distance}
        for index, (cpuid, flag, distance) in enumerate(values)
    ]
    table = build_records(BITS, records, address)
    assert list(parse_records(BITS, table, address)) == records
    assert list(parse_records(BITS, memoryview(table), address)) == records
    assert len(table) == 6 * len(records)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"cpuid": 1 << 15}, ".bits: cpuid = 0x8000 does not fit 15 bits"),
        ({"not": -1}, ".bits: not = -0x1 does not fit 1 bits"),
        ({"site": 2**31 + 0x1002}, ".bits: site = 0x80001002 does not fit 32 bits"),
        ({}, ".bits: site = 0x0 does not fit 32 bits"),
    ],
)
def test_a_value_that_does_not_fit(record: dict[str, int], message: str) -> None:
    with pytest.raises(PatchError) as error:
        build_records(BITS, [record], 0x1000 if record else 2**40)
    assert str(error.value) == message


@pytest.mark.parametrize("missing", range(16))
def test_slack_may_be_missing_behind_the_last_record_only(missing: int) -> None:
    layout = LAYOUTS[64][0]
    table = make_table([PatchSite(1, 2, 3, 4), PatchSite(5, 6, 7, 8)], layout)
    table = table[: len(table) - missing]
    if missing <= 4:
        assert [record["addr"] for record in parse_records(layout, table)] == [1, 5]
    else:
        with pytest.raises(PatchError, match=f"{len(table)} bytes is not a whole number of 16-byte records"):
            list(parse_records(layout, table))


ADDRESSES = {32: st.integers(0, 2**32 - 1), 64: st.integers(0, 2**64 - 1)}
BOUNDS = st.one_of(st.integers(0, 2**80), st.integers(0, 2**32), st.integers(0, 600))


@st.composite
def site_lists(draw: st.DrawFn, bits: int) -> list[PatchSite]:
    near = draw(st.sampled_from([ADDRESSES[bits], st.integers(0, 600), st.integers(2**bits - 600, 2**bits - 1)]))
    sites = st.builds(PatchSite, near, st.integers(0, 255), st.integers(0, 255), st.integers(0, 65535))
    return draw(st.lists(sites, min_size=1, max_size=9))


def lanes_of(sites: list[PatchSite], bits: int) -> Lanes:
    table = make_table(sites, LAYOUTS[bits][0])
    return Grid(2 * bits, len(sites)).lanes(table)


def guards(sites: list[PatchSite], bits: int, test: Callable[[PatchSite], bool]) -> int:
    return sum(test(site) << 2 * bits * index + 2 * bits - 1 for index, site in enumerate(sites))


@pytest.mark.parametrize("bits", [32, 64])
class TestLanes:
    @given(data=st.data())
    def test_bounds(self, bits: int, data: st.DataObject) -> None:
        sites, bound = data.draw(site_lists(bits)), data.draw(BOUNDS)
        lanes = lanes_of(sites, bits)
        assert lanes.from_on(bound) == guards(sites, bits, lambda site: site.addr >= bound)
        assert lanes.up_to(bound) == guards(sites, bits, lambda site: site.addr + site.len <= bound)

    @given(data=st.data())
    def test_neighbours(self, bits: int, data: st.DataObject) -> None:
        sites = data.draw(site_lists(bits))
        if data.draw(st.booleans()):
            sites.sort()
        ends = [site.addr + site.len for site in sites]
        lanes = lanes_of(sites, bits)
        apart = all(end <= site.addr for end, site in zip(ends, sites[1:], strict=False))
        assert lanes.apart() == apart
        assert lanes.extent() == (sites[0].addr, ends[-1])

    @given(data=st.data())
    def test_offsets_and_columns(self, bits: int, data: st.DataObject) -> None:
        sites = data.draw(site_lists(bits))
        base = min(site.addr for site in sites)
        assert list(lanes_of(sites, bits).offsets(base)) == [site.addr - base for site in sites]
        for layout in LAYOUTS[bits]:
            columns = Columns(layout, make_table(sites, layout))
            assert [columns.site(index) for index in range(len(columns))] == sites
            assert list(columns.extents()) == [(site.addr, site.len) for site in sites]


RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)))


@given(RANGES, st.integers(1, 4))
def test_in_order(sites: list[tuple[int, int]], run: int) -> None:
    extents = Extents(sites)
    extents.extend(Extents(sites[:3]))
    assert list(in_order(extents, run)) == sorted(sites + sites[:3])


@given(RANGES)
def test_merged(sites: list[tuple[int, int]]) -> None:
    ranges = list(merged(in_order(sites)))
    covered = {address for start, size in sites for address in range(start, start + size)}
    assert {address for low, high in ranges for address in range(low, high)} == covered
    assert sum(high - low for low, high in ranges) == len(covered)
    assert ranges == sorted(ranges)


@st.composite
def bit_layouts(draw: st.DrawFn) -> tuple[Layout, list[Field]]:
    """Records of 8 bytes like struct jump_entry's: low bits are fields of their own, a relative field is shifted."""
    shift = draw(st.integers(0, 4))
    low = [Field(f"low{n}", n, 1) for n in range(shift)]
    relative = draw(st.booleans())
    fields = [*low, Field("key", shift, 32 - shift, relative, shift), Field("site", 32, 32, not relative)]
    return Layout(".jumps", 8, tuple(fields)), low


@given(bit_layouts(), st.lists(st.integers(-(2**27), 2**27 - 1), min_size=1), st.integers(0, 2**20), st.data())
def test_shifted_fields_there_and_back(
    made: tuple[Layout, list[Field]], values: list[int], lines: int, data: st.DataObject
) -> None:
    layout, low = made
    key = next(field for field in layout.fields if field.name == "key")
    address, records = 16 * lines, []
    for index, value in enumerate(values):
        at = address + 8 * index
        record = {field.name: data.draw(st.integers(0, 1)) for field in low}
        record["key"] = at + (value << key.shift) if key.relative else abs(value) % 2**27 << key.shift
        record["site"] = value % 2**32 if key.relative else at + 4 + value
        records.append(record)
    table = build_records(layout, records, address)
    assert list(parse_records(layout, table, address)) == records
    for index, record in enumerate(records):  # as C reads it: the flags are masked off, the rest counts from the field
        word = int.from_bytes(table[8 * index : 8 * index + 4], "little", signed=key.relative)
        start = address + 8 * index if key.relative else 0
        assert start + (word & -1 << key.shift) == record["key"]
        assert [word >> n & 1 for n in range(key.shift)] == [record[field.name] for field in low]


def test_low_bits_that_a_shifted_field_has_not() -> None:
    layout = Layout(".jumps", 4, (Field("flag", 0, 2), Field("key", 2, 30, True, 2)))
    with pytest.raises(PatchError, match=r"^\.jumps: key = 0x1006 does not fit 30 bits$"):
        build_records(layout, [{"key": 0x1006}], 0x1000)
