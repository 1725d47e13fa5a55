"""Families and passes: copies, stacked records, and one poke for what several passes made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchBug, PatchError
from pvspec.engine.guards import Compares, CpuHasField, Cpus
from pvspec.engine.records import PatchSite, build_records
from pvspec.engine.relocation import relocated
from pvspec.engine.spec import Bug, Chain, Code, Copy, Family, Field, Keep, Layout, Names, Read
from tests.engine.samples import make_kernel, make_spec, make_table, poke_to

BASE = 0x1000
ALT = Layout(
    ".alt",
    12,
    (
        Field("site", 0, 32, True),
        Field("repl", 32, 32, True),
        Field("cpuid", 64, 16),
        Field("len", 80, 8),
        Field("repl_len", 88, 8),
    ),
)
LOCK = Layout(".locks", 4, (Field("site", 0, 32),), padded=True)
COPY = Copy("a.pvs:3", CpuHasField("cpuid"), address="repl", size="repl_len")
MOVED = Copy("a.pvs:3", CpuHasField("cpuid"), address="repl", size="repl_len", relocated=True)
UNLOCK = (Code("a.pvs:4", Cpus("==", 1), data=b""), Code("a.pvs:5", data=b"\xf0"))


def alternatives(*rule: Any, stacked: bool = False, protects: Sequence[str] = ()) -> Kernel:
    family = Family("alt", ALT, rule, stacked=stacked, names=Names(protects=frozenset(protects)))
    protect = {"memcpy": (0x1030, 0x1040)} if family.names.protects else {}
    return make_kernel(make_spec(families=[family]), features=["FAST"], protect=protect)


def locks(rule: Chain = UNLOCK, cpus: int | None = 1) -> Kernel:
    return make_kernel(make_spec(families=[Family("locks", LOCK, rule, length=1)]), cpus=cpus)


def alt(site: int, length: int, repl: int = 0x1080, repl_len: int = 0, cpuid: int = 3) -> dict[str, int]:
    return {"site": site, "len": length, "repl": repl, "repl_len": repl_len, "cpuid": cpuid}


def applied(kernel: Kernel, records: Sequence[dict[str, int]], text: bytes) -> tuple[int, bytes]:
    image = bytearray(text)
    table = build_records(ALT, records, 0x5000)
    return kernel.apply_family("alt", table, image, BASE, table_address=0x5000), bytes(image)


def text_with(**code: str) -> bytes:
    """256 bytes of aa, with code (hexadecimal) at addresses named like `at_1080`."""
    text = bytearray(b"\xaa" * 256)
    for name, value in code.items():
        start, data = int(name.removeprefix("at_"), 16) - BASE, bytes.fromhex(value)
        text[start : start + len(data)] = data
    return bytes(text)


@pytest.mark.parametrize(
    ("record", "site"),
    [
        (alt(0x1010, 5, repl_len=3), "0faee8 6690"),
        (alt(0x1010, 3, repl_len=3), "0faee8 aaaa"),
        (alt(0x1010, 4, repl_len=0), "0f1f4000 aa"),
        (alt(0x1010, 5, repl_len=3, cpuid=4), "aaaaaaaaaa"),
    ],
)
def test_a_copy(record: dict[str, int], site: str) -> None:
    text = text_with(at_1080="0f ae e8")
    pokes, image = applied(alternatives(COPY), [record], text)
    assert image == text_with(at_1080="0f ae e8", at_1010=site)
    assert pokes == (record["cpuid"] == 3)


@pytest.mark.parametrize(
    ("code", "site", "length", "moved"),
    [
        ("e8 00 00 00 00", 0x1010, 6, "e8 70 00 00 00 90"),  # a call keeps its target
        ("e9 00 00 00 00", 0x1010, 5, "eb 73 0f 1f 00"),  # 129 bytes on and more: long
        ("e9 0c 00 00 00", 0x1010, 8, "eb 7f 0f 1f 00 0f 1f 00"),
        ("e9 0d 00 00 00", 0x1010, 5, "e9 7d 00 00 00"),
        ("e9 8b ff ff ff", 0x1010, 5, "eb fe 0f 1f 00"),  # to itself: not back
        ("e9 8a ff ff ff", 0x1010, 5, "e9 fa ff ff ff"),  # back: never short
        ("e9 00 00 00 00", 0x10F0, 5, "e9 90 ff ff ff"),
        ("eb 00 00 00 00", 0x1010, 5, "eb 00 00 00 00"),
        ("e8 00 00 00 00 90", 0x1010, 6, "e8 00 00 00 00 90"),  # more than the one instruction
        ("e9 00 00 00", 0x1010, 4, "e9 00 00 00"),
        ("0f ae e8", 0x1010, 3, "0f ae e8"),
    ],
)
def test_a_relocated_copy(code: str, site: int, length: int, moved: str) -> None:
    text = text_with(at_1080=code)
    record = alt(site, length, repl_len=len(bytes.fromhex(code)))
    assert applied(alternatives(MOVED), [record], text)[1] == text_with(at_1080=code, **{f"at_{site:x}": moved})


def test_a_copy_is_relocated_only_if_it_says_so() -> None:
    text = text_with(at_1080="e8 00 00 00 00")
    assert applied(alternatives(COPY), [alt(0x1010, 5, repl_len=5)], text)[1][0x10:0x15].hex() == "e800000000"


def test_a_copy_from_a_symbol() -> None:
    rule = (Copy("a.pvs:3", address="template", size=3),)
    family = Family("alt", ALT, rule, names=Names(symbols=frozenset({"template"})))
    kernel = make_kernel(make_spec(families=[family]), symbols={"template": 0x1090})
    text = text_with(at_1080="90 90 90", at_1090="0f ae e8")
    assert applied(kernel, [alt(0x1010, 3)], text)[1][0x10:0x13].hex() == "0faee8"


@pytest.mark.parametrize(
    ("throughout", "before", "after"),
    [
        (False, "90 90 aa 66 90 90 90 aa", "66 90 aa 66 90 66 90 aa"),
        (True, "90 90 aa 66 90 90 90 aa", "66 90 aa 0f 1f 40 00 aa"),
    ],
)
def test_nops_are_relaid(throughout: bool, before: str, after: str) -> None:
    """At sites that an arm decided and at those that none did; what a copy leaves over is nops of one byte."""
    rule = (Copy("a.pvs:3", CpuHasField("cpuid"), address="repl", size="repl_len"),)
    family = Family("alt", ALT, rule, relaid=True, throughout=throughout)
    kernel = make_kernel(make_spec(families=[family]), features=["FAST"])
    text = text_with(at_1010=before, at_1020=bytes(10).hex(), at_1080=before)
    records = [alt(0x1010, 8, cpuid=4), alt(0x1020, 10, repl_len=8)]
    pokes, image = applied(kernel, records, text)
    assert (pokes, image[0x10:0x18].hex(" ")) == (2, after)
    assert image[0x20:0x2A].hex(" ") == after + " 66 90"
    again = [alt(0x1010, 8, cpuid=4)]
    assert applied(kernel, again, image)[0] == 0  # they are as they should be


@pytest.mark.parametrize("throughout", [False, True])
def test_nops_of_a_copy_and_behind_it_are_one_run(throughout: bool) -> None:
    rule = (Copy("a.pvs:3", address="repl", size="repl_len"),)
    family = Family("alt", ALT, rule, relaid=True, throughout=throughout)
    text = text_with(at_1080="aa 90")
    image = applied(make_kernel(make_spec(families=[family])), [alt(0x1010, 4, repl_len=2)], text)[1]
    assert image[0x10:0x14].hex(" ") == "aa 0f 1f 00"


def test_what_no_table_needs_is_relaid_all_the_same() -> None:
    """A family whose arms all keep is not looked at, unless its nops are."""
    for relaid, expected in (False, "9090"), (True, "6690"):
        family = Family("alt", ALT, (Keep("a.pvs:1"),), relaid=relaid)
        text = text_with(at_1010="90 90")
        assert (
            applied(make_kernel(make_spec(families=[family])), [alt(0x1010, 2)], text)[1][0x10:0x12].hex() == expected
        )


def test_an_arm_among_some_that_keep_decides() -> None:
    rule = Keep("a.pvs:1", CpuHasField("cpuid")), Code("a.pvs:2", data=b"\xcc")
    records = [alt(0x1010, 1), alt(0x1020, 1, cpuid=4)]
    pokes, image = applied(alternatives(*rule), records, text_with())
    assert (pokes, image[0x10], image[0x20]) == (1, 0xAA, 0xCC)


@pytest.mark.parametrize("opcode", ["e8", "e9"])
def test_relocation_wraps_with_32_bits_only(opcode: str) -> None:
    code = bytes.fromhex(opcode + "00 00 00 00")
    assert relocated(code, 0xF0000000, 0x10000000, 32).hex() == opcode + "000000e0"
    assert relocated(code, 2**64 - 16, 0x200, 64).hex() == opcode + "f0fdffff"
    with pytest.raises(PatchError, match="the target of the code at 0xf0000000 is out of reach"):
        relocated(code, 0xF0000000, 0x10000000, 64)


def test_stacked_records_apply_in_turn() -> None:
    text = text_with(at_1080="0f ae e8", at_1090="fa")
    records = [alt(0x1010, 5, repl_len=3), alt(0x1010, 5, 0x1090, 1), alt(0x1010, 5, cpuid=4), alt(0x1020, 1)]
    pokes, image = applied(alternatives(COPY, stacked=True), records, text)
    assert image == text_with(at_1080="0f ae e8", at_1090="fa", at_1010="fa 0f 1f 40 00", at_1020="90")
    assert pokes == 2


def test_a_later_record_copies_what_an_earlier_one_wrote() -> None:
    text = text_with(at_1080="fa")
    records = [alt(0x1010, 1, repl_len=1), alt(0x1020, 1, repl=0x1010, repl_len=1)]
    assert applied(alternatives(COPY), records, text)[1] == text_with(at_1080="fa", at_1010="fa", at_1020="fa")


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    ("record", "message"),
    [
        (alt(0xFFF, 2), "alt: site 0xfff: its 2 bytes are outside the text"),
        (alt(0x10FF, 2), "alt: site 0x10ff: its 2 bytes are outside the text"),
        (alt(-16, 2), "alt: site 0xfffffff0: its 2 bytes are outside the text"),
        (alt(0x102F, 2), "alt: site 0x102f: its 2 bytes are over memcpy, which the poke itself runs"),
        (alt(0x1014, 2), "alt: site 0x1010 overlaps site 0x1014"),
        (alt(0x100F, 2), "alt: site 0x100f overlaps site 0x1010"),
        (alt(0x1020, 2, repl_len=3), "alt: site 0x1020: a.pvs:3: a replacement of 3 bytes for a site of 2"),
        (alt(0x1020, 2, 0x10FF, 2), "alt: site 0x1020: 2 bytes at 0x10ff are outside the image 0x1000-0x1100"),
        (alt(0x1020, 2, cpuid=9), "alt: site 0x1020: a.pvs:6: stop"),
    ],
)
def test_nothing_is_written(record: dict[str, int], message: str, stacked: bool) -> None:
    bug = Bug("a.pvs:6", Compares("cpuid", "==", 9), message="stop")
    kernel, text = alternatives(COPY, bug, stacked=stacked, protects=["memcpy"]), bytearray(b"\xaa" * 256)
    for records in ([alt(0x1010, 5), record], [record, alt(0x1010, 5)]):
        table = build_records(ALT, records, 0x5000)
        with pytest.raises(PatchError) as error:
            kernel.apply_family("alt", table, text, BASE, table_address=0x5000)
        named = "" if " overlaps " in message else f"record {records.index(record)}, "
        assert str(error.value) == message.replace("alt: ", f"alt: {named}")
        assert isinstance(error.value, PatchBug) == ("a.pvs" in message)
        assert text == b"\xaa" * 256


@pytest.mark.parametrize(
    ("site", "length", "refused"), [(0x102C, 4, False), (0x102C, 5, True), (0x103F, 1, True), (0x1040, 4, False)]
)
def test_what_the_poke_runs_ends_where_it_ends(site: int, length: int, refused: bool) -> None:
    """memcpy lies from 0x1030 to 0x1040."""
    kernel, text = alternatives(COPY, protects=["memcpy"]), text_with(at_1080="fa")
    if not refused:
        assert applied(kernel, [alt(site, length, repl_len=1)], text)[0] == 1
        return
    with pytest.raises(
        PatchError, match=f"site {site:#x}: its {length} bytes are over memcpy, which the poke itself runs"
    ):
        applied(kernel, [alt(site, length, repl_len=1)], text)


@pytest.mark.parametrize(("pointer", "pokes"), [(0x1040, 1), (0, 0)])
def test_a_null_pointer_leads_to_no_site(pointer: int, pokes: int) -> None:
    """Whatever is behind it: the kernel skips such a record."""
    layout = Layout(".sites", 4, (Field("key", 0, 32),))
    reads = {"where": Read("key", 0, 4)}
    rule = (Code("a.pvs:1", data=b"\xcc"),)
    family = Family("f", layout, rule, length=1, place=("where", 4), reads=reads)
    image = bytearray(text_with(at_1020=pointer.to_bytes(4, "little").hex()))
    before = bytes(image)
    table = build_records(layout, [{"key": 0x1020}])
    assert make_kernel(make_spec(families=[family])).apply_family("f", table, image, BASE) == pokes
    assert image[0x44] == (0xCC if pokes else 0xAA)
    assert pokes or image == before


def test_two_records_for_one_site() -> None:
    with pytest.raises(PatchError, match=r"^alt: two records for site 0x1010$"):
        applied(alternatives(COPY), [alt(0x1010, 5), alt(0x1020, 1), alt(0x1010, 5)], text_with())


@pytest.mark.parametrize("cpus", [1, 2])
def test_locks_with_zero_words_between(cpus: int) -> None:
    text = bytearray(b"\xf0\xaa\xf0\xaa")
    table = b"".join(site.to_bytes(4, "little") for site in (0x1002, 0, 0x1000, 0, 0))
    assert locks(cpus=cpus).apply_family("locks", table, text, BASE) == 2
    assert text.hex() == ("90aa90aa" if cpus == 1 else "f0aaf0aa")


def test_what_is_kept_needs_no_place() -> None:
    text = bytearray(4)
    assert locks((Keep("a.pvs:1"),)).apply_family("locks", bytes([1, 0, 0, 0]), text, BASE) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda kernel, text: kernel.apply_family("alt", b"", text, BASE), "there is no family 'alt'"),
        (
            lambda kernel, text: kernel.apply_passes({"alt": (b"", 0)}, text, BASE),
            "there is a table for alt, which is none of the passes: locks, pv",
        ),
        (
            lambda kernel, text: kernel.apply_family("locks", bytes(6), text, BASE),
            "locks: .locks: 6 bytes is not a whole number of 4-byte records",
        ),
    ],
)
def test_wrong_tables(call: Any, message: str) -> None:
    with pytest.raises(PatchError) as error:
        call(locks(), bytearray(4))
    assert str(error.value) == message


@pytest.mark.parametrize("missing", ["site", "len"])
def test_records_without_a_field(missing: str) -> None:
    layout = Layout(".alt", 4, tuple(f for f in (Field("site", 0, 16), Field("len", 16, 16)) if f.name != missing))
    kernel = make_kernel(make_spec(families=[Family("alt", layout, (Keep("a.pvs:1"),))]))
    with pytest.raises(PatchError, match=f"^alt: .alt: its records have no field {missing}$"):
        kernel.apply_family("alt", b"", bytearray(4), BASE)


class TestPasses:
    def tables(self) -> dict[str, tuple[bytes, int]]:
        alternatives = build_records(ALT, [alt(0x1010, 6, repl_len=1), alt(0x1020, 2)], 0x5000)
        sites = [PatchSite(0x1010, 2, 6, 0), PatchSite(0x1030, 4, 3, 0), PatchSite(0x1040, 1, 1, 0)]
        return {"pv": (make_table(sites), 0), "alt": (alternatives, 0x5000)}

    def test_the_last_pass_wins_and_each_site_gets_one_poke(self) -> None:
        pokes: list[tuple[int, bytes]] = []
        text = text_with(at_1080="fb")
        for order, code in ((None, "9c 58 0f 1f 40 00"), (("pv", "alt"), "fb 0f 1f 40 00 90")):
            pokes.clear()
            count = alternatives(COPY).apply_passes(self.tables(), text, BASE, poke=poke_to(pokes), order=order)
            made = {0x1010: code, 0x1020: "66 90", 0x1030: "aa aa aa", 0x1040: "fa"}
            assert pokes == [(address, bytes.fromhex(data)) for address, data in made.items()]
            assert count == 4

    def test_written_as_poked(self) -> None:
        image = bytearray(text_with(at_1080="fb"))
        alternatives(COPY).apply_passes(self.tables(), image, BASE)
        assert image == text_with(at_1080="fb", at_1010="9c 58 0f 1f 40 00", at_1020="66 90", at_1040="fa")

    def test_nothing_is_written_if_a_later_pass_is_wrong(self) -> None:
        image, pokes = bytearray(text_with(at_1080="fb")), list[tuple[int, bytes]]()
        tables = self.tables() | {"pv": (make_table([PatchSite(0x10FF, 1, 2, 0)]), 0)}
        for poke in (None, poke_to(pokes)):
            with pytest.raises(PatchError, match="site 0x10ff: its 2 bytes are outside the text"):
                alternatives(COPY).apply_passes(tables, image, BASE, poke=poke)
        assert image == text_with(at_1080="fb")
        assert not pokes
