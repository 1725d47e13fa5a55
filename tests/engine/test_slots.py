"""The table of ops, found through the sites that name it."""

from __future__ import annotations

import pytest

from pvspec.engine.errors import PatchError
from pvspec.engine.records import build_records
from pvspec.engine.slots import find_table, read_targets
from pvspec.engine.spec import Field, Interface, Layout, Slot

LAYOUT = Layout(".parainstructions", 6, (Field("addr", 0, 32), Field("type", 32, 8), Field("len", 40, 8)))
SITES = 0x1000
TABLE = 0x2000


def interface(*slots: Slot) -> Interface:
    return Interface("ops", LAYOUT, 254, {}, {(): {}}, slots=slots)


def memory(*codes: str) -> bytes:
    """Sites of 8 bytes from SITES on."""
    return b"".join(bytes.fromhex(code).ljust(8, b"\x90") for code in codes)


def table(*types: int) -> bytes:
    return build_records(LAYOUT, [{"addr": SITES + 8 * n, "type": t, "len": 8} for n, t in enumerate(types)])


def find(found: Interface, text: bytes, *types: int) -> int | None:
    return find_table(found, 4, table(*types), 0, lambda address, size: text[address - SITES :][:size])


def test_absolute() -> None:
    text = memory("ff 15 0c 20 00 00", "2e ff 15 14 20 00 00")
    both = interface(Slot(bytes.fromhex("ff15"), 4), Slot(bytes.fromhex("2eff15"), 4))
    assert find(both, text, 3, 5) == TABLE


def test_relative_counts_from_behind_the_field() -> None:
    text = memory("ff 15 06 10 00 00")  # 0x1006 + 0x1006 = 0x200c
    assert find(interface(Slot(bytes.fromhex("ff15"), 4, relative=True)), text, 3) == TABLE


def test_a_site_that_names_nothing() -> None:
    text = memory("e8 00 00 00 00", "ff 15 0c 20 00 00")
    found = interface(Slot(bytes.fromhex("ff15"), 4))
    assert find(found, text, 1, 3) == TABLE
    assert find(found, text, 1) is None


def test_sites_that_disagree() -> None:
    text = memory("ff 15 0c 20 00 00", "ff 15 0c 20 00 00")
    with pytest.raises(PatchError, match="sites 0x1000 and 0x1008 name tables at 0x2000 and 0x1ffc"):
        find(interface(Slot(bytes.fromhex("ff15"), 4)), text, 3, 4)


def test_targets() -> None:
    words = bytes.fromhex("11000000 22000000 33000000")
    assert read_targets([0, 2], TABLE, 4, lambda a, n: words[a - TABLE :][:n]) == {0: 0x11, 2: 0x33}
