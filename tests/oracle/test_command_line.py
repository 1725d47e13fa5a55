"""The two parsers of a command line, against the functions of real kernels, on random lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import pytest
import unicorn

from pvspec.engine.command_line import (
    EARLY_PARAM,
    FIND_OPTION,
    FIND_OPTION_BOOL,
    CommandLine,
    Parameter,
    Variable,
    read_line,
    words,
)
from pvspec.kernel import open_kernel

from . import fetch
from .cases import Kernel
from .functions import Functions

KERNELS = [Kernel(version, "amd64", "cloud-amd64") for version in ("5.10", "6.1", "6.12")]
PIECES = ["pti", "nopti", "=", '"', " ", "  ", "--", "-", "_", "0x1", "08", "-3", "x", "\t", "off", ",", "\xa0", "\x1f"]
LINE, NAME, VALUE, BUFFER = (Functions.scratch + at for at in (0x1000, 0x0, 0x8, 0x4000))
ASKED = CommandLine(
    {"number": Variable(-77), "flag": Variable(0)},
    (
        Parameter(EARLY_PARAM, "number", "number", "number"),
        Parameter(FIND_OPTION, "pti", "features"),
        Parameter(FIND_OPTION_BOOL, "nopti", "flag", sets=(("flag", 1),)),
    ),
)


@cache
def _functions(kernel: Kernel) -> Functions | fetch.Unavailable:
    try:
        return Functions(open_kernel(kernel.package()))
    except fetch.Unavailable as reason:
        return reason


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.name)
def functions(request: pytest.FixtureRequest) -> Functions:
    found = _functions(request.param)
    if isinstance(found, fetch.Unavailable):
        pytest.skip(str(found))
    return found


def lines(count: int) -> Iterator[str]:
    chosen = random.Random(5)
    for _ in range(count):
        yield "".join(chosen.choice(PIECES) for _ in range(chosen.randrange(14)))


def typed(line: str) -> str:
    """The line as a user's text, whose bytes the kernel reads."""
    return line.encode("latin-1").decode("utf-8", "surrogateescape")


def kernels_words(functions: Functions, line: str) -> Iterator[tuple[str, str | None]]:
    """What next_arg() makes of a line, as parse_args() calls it."""
    functions.write(LINE, line.encode("latin-1") + bytes(2))
    at = functions.call("skip_spaces", LINE)
    while functions.text(at):
        at = functions.call("next_arg", at, NAME, VALUE)
        value = functions.pointer(VALUE)
        word = functions.text(functions.pointer(NAME)), functions.text(value) if value else None
        if word == ("--", None):
            return
        yield word


def test_words_and_values(functions: Functions) -> None:
    for line in lines(1500):
        try:
            kernels = list(kernels_words(functions, line))
        except unicorn.UcError:  # 5.10 reads 4 GiB behind a quote that ends the line
            assert line.endswith('"')
            continue
        assert list(words(line)) == kernels, repr(line)


def test_numbers(functions: Functions) -> None:
    for text in ["", "0", "1", "0x1", "0X1f", "0x", "010", "08", "9x", "-3", "--3", "x", "4294967297", "1,2", "+1"]:
        functions.write(LINE, text.encode() + b"\0")
        functions.write(NAME, LINE.to_bytes(8, "little"))
        functions.write(VALUE, (-77 & 0xFFFFFFFF).to_bytes(8, "little"))
        functions.call("get_option", NAME, VALUE)
        number = functions.pointer(VALUE) & 0xFFFFFFFF
        assert read_line(f"number={text}", ASKED).values["number"] & 0xFFFFFFFF == number, text  # type: ignore[operator]


def test_words_that_are_looked_for(functions: Functions) -> None:
    functions.write(NAME, b"pti\0")
    functions.write(VALUE, b"nopti\0")
    for line in lines(1500):
        found = read_line(typed(line), ASKED)
        functions.write(LINE, line.encode("latin-1") + bytes(2))
        functions.write(BUFFER, bytes(64))
        length = functions.call("cmdline_find_option", LINE, NAME, BUFFER, 1024)
        value = functions.text(BUFFER) if length < 1 << 31 else None
        assert found.listed.get("pti") == value, repr(line)
        assert found.values["flag"] == int(functions.call("cmdline_find_option_bool", LINE, VALUE) & 0xFFFF > 0)
