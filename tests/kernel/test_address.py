"""Addresses as people write them, and as an oops, kallsyms and a debugger print them."""

from __future__ import annotations

import difflib
from collections.abc import Collection

import pytest

from pvspec.kernel import ImageError
from pvspec.kernel.symbols.table import Symbol, SymbolTable

BASE = 0xFFFFFFFF81000000
NAMED = [
    (0x0, "T", "_text"),
    (0x100, "t", "do_one_initcall"),
    (0x320, "T", "add"),
    (0x400, "T", "deadbeef"),
    (0x440, "t", "twice"),
    (0x460, "T", "twice"),
    (0x500, "t", "cleanup"),
    (0x510, "t", "cleanup"),
    (0x540, "t", "cleanup"),
    (0x600, "t", "foo.cold"),
    (0x640, "T", "0123456789abcdef"),
    (0x700, "t", "12"),
]


@pytest.fixture(scope="module")
def table() -> SymbolTable:
    return SymbolTable("test", [Symbol(BASE + at, kind, name) for at, kind, name in NAMED], BASE + 0x1000)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("do_one_initcall", BASE + 0x100),
        ("do_one_initcall+0x76", BASE + 0x176),
        ("do_one_initcall+118", BASE + 0x176),
        ("do_one_initcall+0x76/0x220", BASE + 0x176),
        ("do_one_initcall+0X76/544", BASE + 0x176),
        (" do_one_initcall\n", BASE + 0x100),
        ("foo.cold+0", BASE + 0x600),
        ("0xffffffff810024d6", 0xFFFFFFFF810024D6),
        ("ffffffff810024d6", 0xFFFFFFFF810024D6),
        ("FFFFFFFF810024D6+0x10", 0xFFFFFFFF810024E6),
        ("c1000000", 0xC1000000),
        ("10000000", 0x10000000),
        ("18446744071578853590", 18446744071578853590),
        ("3238002688", 3238002688),
        ("0", 0),
        # a symbol wins over a number
        ("add", BASE + 0x320),
        ("deadbeef", BASE + 0x400),
        ("deadbeef+0x1", BASE + 0x401),
        ("0123456789abcdef", BASE + 0x640),
        ("12", BASE + 0x700),
        ("0xdeadbeef", 0xDEADBEEF),
        # of several symbols, the global one, or that of the size
        ("twice", BASE + 0x460),
        ("cleanup+0x2/0x30", BASE + 0x512),
        ("cleanup+0x2/0xc0", BASE + 0x542),
    ],
)
def test_what_is_meant(table: SymbolTable, text: str, address: int) -> None:
    assert table.parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("do_one_initcal", "there is no symbol do_one_initcal; did you mean do_one_initcall?"),
        ("do_one_inticall+0x76/0x220", "there is no symbol do_one_inticall; did you mean do_one_initcall?"),
        ("xo_one_initcall", "there is no symbol xo_one_initcall; did you mean do_one_initcall?"),
        ("elephant", "there is no symbol elephant"),
        ("fee", "there is no symbol fee"),
        ("cleanup", "3 symbols are named cleanup: give an address"),
        ("cleanup+0x2/0x999", "3 symbols are named cleanup: give an address"),
        ("0xffffffffffffffff+1", "0xffffffffffffffff+1 is beyond the last address, 0xffffffffffffffff"),
        ("100000000000000000000", "100000000000000000000 is beyond the last address, 0xffffffffffffffff"),
        *(
            (text, f"{text} is not an address: write SYMBOL, SYMBOL+0xOFFSET or 0xADDRESS")
            for text in ("+", "add+", "add+0x", "add+x", "add/0x1", "add+1/", "add+1+1", "add add")
        ),
        *((text, "an empty text is not an address: write SYMBOL, SYMBOL+0xOFFSET or 0xADDRESS") for text in ("", " ")),
        ("add-1", "there is no symbol add-1; did you mean add?"),
        ("a\x1b[31m+", r"a\x1b[31m+ is not an address: write SYMBOL, SYMBOL+0xOFFSET or 0xADDRESS"),
        ("\u202e", r"there is no symbol \u202e"),
    ],
)
def test_what_is_not_understood(table: SymbolTable, text: str, message: str) -> None:
    with pytest.raises(ImageError) as error:
        table.parse_address(text)
    listed = f" ({BASE + 0x500:#x}, {BASE + 0x510:#x}, {BASE + 0x540:#x})" if "give an address" in message else ""
    assert str(error.value) == message + listed


def test_an_image_without_symbols() -> None:
    with pytest.raises(ImageError, match="there is no symbol add: the image lacks symbols; give"):
        SymbolTable("none", [], BASE).parse_address("add")
    assert SymbolTable("none", [], BASE).parse_address("c1000000") == 0xC1000000


def test_digits_that_are_not_ascii(table: SymbolTable) -> None:
    """int() would take them."""
    for text in ("\u0661\u0662\u0663", "0x\u0661", "add+\u0661"):
        with pytest.raises(ImageError):
            table.parse_address(text)


def test_a_large_table_and_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is suggested is compared with few names, not with each of 200,000."""
    compared: list[int] = []

    def counted(word: str, names: Collection[str], n: int) -> list[str]:
        compared.append(len(names))
        return closest(word, names, n)

    closest = difflib.get_close_matches
    monkeypatch.setattr("difflib.get_close_matches", counted)
    names = [f"{'abcdefghijklmnop'[at % 16]}_function_of_driver_{at}" for at in range(200_000)]
    table = SymbolTable("test", [Symbol(BASE + at, "t", name) for at, name in enumerate(names)], BASE + (1 << 30))
    with pytest.raises(ImageError, match="did you mean b_function_of_driver_123457"):
        table.parse_address("b_fuction_of_driver_123457")
    with pytest.raises(ImageError, match="did you mean b_function_of_driver_123457"):
        table.parse_address("q_function_of_driver_123457")
    with pytest.raises(ImageError, match="is not an address"):
        table.parse_address("a" * 100_000 + "+")
    with pytest.raises(ImageError, match="there is no symbol"):
        table.parse_address("a" * 1000)
    assert len(compared) == 2, "a name of 1000 characters is no misspelt one"
    assert max(compared) <= 128
