"""Parse one statement of Intel-syntax assembly.

The grammar is the part of `.intel_syntax noprefix` that two assemblers cannot read differently:
numbers are decimal, 0x… or 0b…, and a name as an operand is a branch target or follows `offset`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pvspec.x86.intel import (
    AS_BYTES,
    PREFIXES,
    REGISTERS,
    SEGMENTS,
    SIZES,
    AsmError,
    Immediate,
    Memory,
    Operand,
    Register,
    Statement,
    Value,
)

_RESERVED = {
    *SIZES,
    "ptr",
    "offset",
    "short",
    "near",
    "far",
    "flat",
    "and",
    "or",
    "xor",
    "not",
    "mod",
    "shl",
    "shr",
}
_TOKEN = re.compile(r"\s*(?:(st\s*\(\s*[0-7]\s*\)|[A-Za-z_.$][\w.$]*)|(\d\w*)|(\S))", re.IGNORECASE | re.ASCII)
_WORDS = ("bx", "bp", "si", "di")
_BASES_ONLY = ("esp", "rsp", "bx", "bp")  # these cannot be an index; GNU as swaps them with the base
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0|[1-9][0-9]*")
_FOREIGN_COMMENT = re.compile(r"//|/\*|\*/")
_MAX_DIGITS = 66
"""Characters of a number in assembly, which are those of 0b and 64 bits; a longer one is not a number."""


def parse_statement(text: str, start: int = 0) -> Statement:
    """Parse one statement without its label; `start` is where `text` begins in the whole source.

    Raises AsmError, which points at the unexpected word.
    """
    if "%" in text or "$" in text:
        from pvspec.x86.att import is_att  # what is written in Intel syntax does not pay for it

        if is_att(text):
            raise _att(text, start)
    comment = _FOREIGN_COMMENT.search(text)
    if comment is not None:
        raise AsmError(
            f"unexpected `{comment[0]}`", "comments begin with `#`", start + comment.start(), start + comment.end()
        )
    return _Parser(text, start).statement()


def _att(text: str, start: int) -> AsmError:
    from pvspec.x86.att import intel_spelling

    spelling = intel_spelling(text)
    if spelling is not None:
        try:
            _Parser(spelling, 0).statement()
        except AsmError:
            spelling = None
    general = "write the destination first and memory as [ … ], without `%` and `$`"
    help = f"write `{spelling}`" if spelling is not None else general
    first = start + len(text) - len(text.lstrip())
    return AsmError("this is AT&T syntax; code must be in Intel syntax", help, first, start + len(text.rstrip()))


class _Token(NamedTuple):
    kind: str  # "word", "number", "sign" or "end"
    text: str
    start: int
    end: int
    word: str  # a word in lower case and without blanks; empty for other kinds

    def error(self, message: str, help: str | None = None) -> AsmError:
        return AsmError(message, help, self.start, self.end)


def _tokens(text: str, start: int) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text.rstrip()):
        kind = ("word", "number", "sign")[found.lastindex - 1 if found.lastindex else 0]
        spelling = found.group(found.lastindex or 0)
        word = "".join(spelling.split()).lower() if kind == "word" else ""
        end = start + found.end()
        yield _Token(kind, spelling, end - len(spelling), end, word)


class _Parser:
    def __init__(self, text: str, start: int) -> None:
        self._tokens = list(_tokens(text, start))
        self._start = self._tokens[0].start if self._tokens else start
        self._stop = self._tokens[-1].end if self._tokens else start
        self._tokens += [_Token("end", "", self._start, self._stop, "")] * 2  # the current token, and one of lookahead
        self._position = 0

    def statement(self) -> Statement:
        prefixes = []
        word = self._mnemonic()
        while word in PREFIXES:
            prefixes.append(word)
            if self._peek().kind == "end":
                raise self._peek().error(
                    f"`{word}` is a prefix without an instruction",
                    f"write both in one statement, as in `{word} …`",
                )
            word = self._mnemonic()
        operands = tuple(self._operands())
        return Statement(tuple(prefixes), word, operands, self._start, self._stop)

    def _mnemonic(self) -> str:
        token = self._next()
        if token.text.startswith("."):
            raise token.error(f"directive `{token.text}` is not an instruction", 'write raw bytes as `bytes "…"`')
        if token.kind != "word":
            raise token.error(f"expected an instruction, not `{token.text}`")
        return token.text.lower()

    def _operands(self) -> Iterator[Operand]:
        if self._peek().kind == "end":
            return
        yield self._operand()
        while self._peek().kind != "end":
            self._expect(",")
            yield self._operand()

    def _operand(self) -> Operand:
        first = self._peek()
        name = first.word
        if name in SIZES or first.text == "[" or self._peek(1).text == ":":
            return self._memory()
        if name == "offset":
            self._next()
            return self._immediate(first.start, offset=True)
        if name == "short":
            self._next()
            return self._immediate(first.start, short=True)
        if name in REGISTERS:
            self._next()
            return Register("st(0)" if name == "st" else name, first.start, first.end)
        return self._immediate(first.start)

    def _immediate(self, start: int, offset: bool = False, short: bool = False) -> Immediate:
        sum_ = self._sum()
        if sum_.registers:
            raise AsmError("a register cannot be part of this number", "write memory as [ … ]", start, self._end())
        if offset and sum_.symbol is None:
            raise AsmError("`offset` needs a symbol", None, start, self._end())
        return Immediate(Value(sum_.number, sum_.symbol), offset, short, start, self._end())

    def _memory(self) -> Memory:
        start = self._peek().start
        size = self._size()
        segment = self._segment()
        if size is not None and segment is None and self._peek().kind == "number":
            raise self._peek().error("a number cannot have a size", f"if the size matters, {AS_BYTES}")
        self._expect("[", "write memory as [ … ]")
        sum_ = self._sum()
        self._expect("]")
        base, index, scale = _address(sum_.registers, start, self._end())
        return Memory(size, segment, base, index, scale, Value(sum_.number, sum_.symbol), start, self._end())

    def _size(self) -> int | None:
        size = SIZES.get(self._peek().word)
        if size is not None:
            self._next()
            token = self._next()
            if token.word != "ptr":
                raise token.error("expected `ptr` after the operand's size")
        return size

    def _segment(self) -> str | None:
        token = self._peek()
        if self._peek(1).text != ":":
            return None
        if token.word not in SEGMENTS:
            raise token.error(f"`{token.text}` is not a segment register")
        self._position += 2
        return token.word

    def _sum(self) -> _Sum:
        sum_ = _Sum()
        sign = -1 if self._accept("-") else 1
        self._term(sum_, sign)
        while self._peek().text in ("+", "-"):
            sign = -1 if self._next().text == "-" else 1
            if self._accept("-"):
                sign = -sign
            self._term(sum_, sign)
        return sum_

    def _term(self, sum_: _Sum, sign: int) -> None:
        token = self._next()
        name = token.word
        if token.kind == "number":
            number = _number(token)
            if self._accept("*"):
                self._scaled(sum_, sign, self._next(), number)
            else:
                sum_.number += sign * number
        elif name in REGISTERS:
            factor = _number(self._next()) if self._accept("*") else None
            self._scaled(sum_, sign, token, factor)
        elif token.kind != "word" or name in _RESERVED:
            help = f"remove it, or {AS_BYTES}" if name in ("near", "far", "flat") else None
            raise token.error(f"expected a register, a number or a symbol, not `{token.text}`", help)
        elif sum_.symbol is not None or sign < 0:
            raise token.error(
                "an expression can contain at most one symbol", "a difference of symbols is unknown at this point"
            )
        else:
            sum_.symbol = token.text

    def _scaled(self, sum_: _Sum, sign: int, token: _Token, factor: int | None) -> None:
        if token.word not in REGISTERS:
            raise token.error(f"expected a register, not `{token.text}`", "calculate the product yourself")
        if sign < 0 or factor not in (None, 1, 2, 4, 8):
            raise token.error(f"`{token.text}` can only be added, or multiplied by 1, 2, 4 or 8")
        sum_.registers.append((token.word, factor))

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[self._position + ahead]

    def _next(self) -> _Token:
        token = self._peek()
        if token.kind == "end":
            raise token.error("the statement is incomplete")
        self._position += 1
        return token

    def _accept(self, text: str) -> bool:
        found = self._peek().text == text
        self._position += found
        return found

    def _expect(self, text: str, help: str | None = None) -> None:
        token = self._peek()
        if not self._accept(text):
            raise token.error(f"expected `{text}` before `{token.text}`" if token.text else f"missing `{text}`", help)

    def _end(self) -> int:
        return self._tokens[self._position - 1].end


@dataclass(slots=True)
class _Sum:
    number: int = 0
    symbol: str | None = None
    registers: list[tuple[str, int | None]] = field(default_factory=list)  # with the factor, if there is one


def _number(token: _Token) -> int:
    if not _NUMBER.fullmatch(token.text) or len(token.text) > _MAX_DIGITS:
        raise token.error(f"`{token.text}` is not a valid number", "numbers are decimal, 0x… or 0b…")
    return int(token.text, 0)


def _address(registers: list[tuple[str, int | None]], start: int, end: int) -> tuple[str | None, str | None, int]:
    """Tell base from index: the scaled register is the index, else the second one is."""
    plain = [name for name, factor in registers if factor is None]
    scaled = [(name, factor) for name, factor in registers if factor is not None]
    if len(registers) > 2 or len(scaled) > 1:
        raise AsmError("an address has at most one base and one scaled index", None, start, end)
    if scaled and scaled[0][0] in _WORDS:
        raise AsmError("a 16-bit index cannot have a factor", "use 32-bit registers", start, end)
    if scaled:
        return (plain[0] if plain else None), *scaled[0]
    if len(plain) > 1 and plain[1] in _BASES_ONLY:
        plain.reverse()
    return (plain[0] if plain else None), (plain[1] if len(plain) > 1 else None), 1
