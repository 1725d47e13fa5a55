"""A text that does not follow the grammar: which parts of it do, and one finding for each part that does not.

Line ends mean nothing to the grammar, but they show what an author meant. So the text is cut where people begin
something new: into top-level items, and an invalid item into the constructs of its block. Each piece is parsed by
itself; those that fail are reported and blanked, and the rest is read as if they were not there. Every character is
parsed a fixed number of times, however many pieces are invalid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from lark import Token as LarkToken
from lark import Tree

from pvspec.lang.diagnostics import Diagnostic, Label, suggestion
from pvspec.lang.parse.errors import Refused, shortened
from pvspec.lang.source import Source, Span

MAX_ERRORS = 20
"""Syntax errors of a file that are shown; further ones are only counted."""
_FOREIGN_COMMENT = re.compile(r"//|/\*|;")
_LEXEME = re.compile(
    r"""
    \#[^\n]* | //[^\n]* | /\*(?:[\s\S]*?\*/|[\s\S]*)    # comments, here and elsewhere
    | (?:(?<=\n)|(?<![\s\S]))[ \t]*;[^\n]*               # so is a line that begins with `;`
    | \"{3}(?:[\s\S]*?\"{3}|[\s\S]*) | "[^"\n]*"?
    | [<>=!]= | => | -> | \.\. | [A-Za-z0-9_$]+ | [^ \t\f\r\n]
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_HEADS = {  # what follows the word that begins an item; NAME and STRING stand for any name and string
    "include": ["STRING"],
    "config": ["NAME", "="],
    "machine": ["NAME", "{"],
    "cmdline": ["{"],
    "decide": ["NAME", "in", "STRING", "{"],
    "policy": ["{"],
    "interface": ["NAME", "{"],
    "chain": ["NAME", "{"],
    "backend": ["NAME", "for", "NAME", "{"],
    "family": ["NAME", "{"],
    "passes": ["{"],
    "test": ["NAME", "{"],
}
_MAX_JOINED = 4096
"""Characters of a construct that is parsed more than once to find its syntax errors; a longer one is left out."""
_CONDITIONS = frozenset(["since", "before", "on"])
_BLOCKS = _HEADS.keys() | {"table", "nops", "registers", "if", "else", "rom", "returns", "targets", "each", "sites"}
_FILLER = {"chain": "keep"}  # the least that a block must contain
_GOES_ON_BEFORE = frozenset(["else", "when", "and", "or", "with", "clobbers", "since", "before", "on"])
_GOES_ON_AFTER = frozenset([",", "and", "or", "not", "else"])
_Tree: TypeAlias = Tree[LarkToken]
Parse: TypeAlias = Callable[[str], _Tree]


@dataclass
class Recovered:
    """What could be parsed: trees, each with the offset that its positions count from; and the words of the rest."""

    trees: list[tuple[_Tree, int]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    words: set[str] = field(default_factory=set)  # all words in the parts that were left out
    lost_include: bool = False  # one of these parts may have included a file


def recover(source: Source, parse: Parse) -> Recovered:
    """All parts of a text that follow the grammar; `parse` raises Refused for those that do not."""
    recovery = _Recovery(source, parse)
    for item in recovery.items():
        recovery.read(item)
    return recovery.finished()


@dataclass(slots=True)
class _Token:
    text: str
    start: int
    column: int  # from 0
    is_first: bool  # on its line

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def fits(self, kind: str) -> bool:
        """Whether this is the word, or of that kind."""
        if kind == "NAME":
            return _WORD.fullmatch(self.text) is not None
        return self.text.startswith('"') if kind == "STRING" else self.text == kind


def _scan(text: str) -> list[_Token]:
    """The tokens of a text, without comments."""
    tokens: list[_Token] = []
    line_start = end = 0
    for match in _LEXEME.finditer(text):
        start = match.start()
        is_first = not tokens or text.find("\n", end, start) >= 0
        line_start = max(line_start, text.rfind("\n", end, start) + 1)
        end = match.end()
        if not match.group().startswith("#"):
            tokens.append(_Token(match.group(), start, start - line_start, is_first))
        line_start = max(line_start, text.rfind("\n", start, end) + 1)
    return tokens


@dataclass(slots=True)
class _Item:
    """The tokens from the beginning of one item to the next; `open`: indices of unclosed braces."""

    first: int
    end: int
    open: list[int]


class _Recovery:
    def __init__(self, source: Source, parse: Parse) -> None:
        self.source = source
        self.parse = parse
        self.text = source.text
        self.result = Recovered()
        self.errors = 0
        # of the item before:
        self.header = ""
        self.column = 0
        self.was_broken = False
        self.closed_by: _Token | None = None  # the brace at its end
        self._blank_comments()
        self.tokens = _scan(self.text)

    def finished(self) -> Recovered:
        """The result, with a finding for the errors that are not shown."""
        if self.errors > MAX_ERRORS:
            last = self.result.diagnostics[-1]
            note = f"{self.errors - MAX_ERRORS} more syntax errors in this file are not shown"
            self.result.diagnostics[-1] = last.changed(notes=(*last.notes, note))
        return self.result

    def _blank_comments(self) -> None:
        """Blank all comments; report the first foreign comment of each kind, and the first `;`.

        Otherwise a brace that is added at the end of a line could become part of a comment.
        """
        found: dict[str, list[re.Match[str]]] = {}

        def blanked(lexeme: re.Match[str]) -> str:
            foreign = _FOREIGN_COMMENT.match(lexeme[0].lstrip())
            if foreign is not None:
                found.setdefault(foreign[0], []).append(lexeme)
            return re.sub(r"[^\n]", " ", lexeme[0]) if foreign is not None or lexeme[0][0] == "#" else lexeme[0]

        self.text = _LEXEME.sub(blanked, self.source.text)
        for mark, places in found.items():
            self._add(partial(self._foreign_comments, mark, places))

    def _foreign_comments(self, mark: str, places: Sequence[re.Match[str]]) -> Diagnostic:
        first = self.source.text.index(mark, places[0].start())
        is_separator = mark == ";" and self.source.text[:first].rpartition("\n")[2].strip() != ""
        help = "remove it: constructs need no separator" if is_separator else "comments begin with `#`"
        notes = [f"{len(places) - 1} more `{mark}` in this file"] if len(places) > 1 else []
        place = Label(Span(self.source, first, first + len(mark)))
        return Diagnostic("PV002", f"unexpected `{mark}`", (place,), tuple(notes), help)

    # items

    def items(self) -> Iterator[_Item]:
        """The text, cut into items; text between items is an item too."""
        first = 0
        while first < len(self.tokens):
            item = self._item_from(first)
            yield item
            first = item.end

    def _item_from(self, first: int) -> _Item:
        open_: list[int] = []
        if self._is_head(first) and self.tokens[first].text == "include":
            return _Item(first, first + 2, [])
        for index in range(first, len(self.tokens)):
            if index > first and self._ends_before(index, open_):
                return _Item(first, index, open_)
            word = self.tokens[index].text
            if word == "{":
                open_.append(index)
            elif word == "}":
                if open_:
                    open_.pop()
                if not open_ and not self._goes_on(index + 1):
                    return _Item(first, index + 1, [])
        return _Item(first, len(self.tokens), open_)

    def _ends_before(self, index: int, open_: Sequence[int]) -> bool:
        """Whether the item ends before this token, with these braces open; in a block of `if` may be items."""
        if not open_:
            return self._may_be_head(index)
        return self._is_head(index) and any(self._begins(brace)[-1:] not in (["if"], ["else"]) for brace in open_)

    def _goes_on(self, index: int) -> bool:
        return index < len(self.tokens) and self.tokens[index].text == "else"

    def _may_be_head(self, index: int) -> bool:
        return self.tokens[index].is_first and self.tokens[index].text in _HEADS

    def _is_head(self, index: int) -> bool:
        """Whether an item certainly begins here, so that the enclosing block must lack its brace."""
        if not self._may_be_head(index):
            return False
        at = index + 1
        for kind in _HEADS[self.tokens[index].text]:
            at = self._behind_conditions(at) if kind == "{" else at
            if at >= len(self.tokens) or not self.tokens[at].fits(kind):
                return False
            at += 1
        return True

    def _behind_conditions(self, at: int) -> int:
        """Where the words of a line go on behind those that say for which kernel it is."""
        if at < len(self.tokens) and self.tokens[at].text in _CONDITIONS:
            while at < len(self.tokens) and not self.tokens[at].is_first and self.tokens[at].text != "{":
                at += 1
        return at

    def read(self, item: _Item) -> None:
        """Parse an item, or the parts of it that can be parsed."""
        start, end = self.tokens[item.first].start, self.tokens[item.end - 1].end
        text = self.text[start:end]
        errors = self.errors
        first = self.tokens[item.first]
        continues = first.text not in _HEADS and (first.column > self.column or first.text == "}")
        if continues and self.closed_by is not None:
            self._leave_out(f"{self.header} {text}")
            if not self.was_broken:
                self._add(partial(self._after_the_end, item))
        else:
            if item.open:
                text = self._closed(item, text, start)
            self._read_text(text, start)
            self.header, self.column = text.partition("{")[0], first.column
            self.was_broken = False
        self.was_broken |= self.errors > errors
        last = self.tokens[item.end - 1]
        self.closed_by = last if last.text == "}" else None

    def _add(self, make: Callable[[], Diagnostic]) -> None:
        self.errors += 1
        if self.errors <= MAX_ERRORS:
            self.result.diagnostics.append(make())

    def _leave_out(self, text: str) -> None:
        words = _WORD.findall(text)
        self.result.words.update(words)
        names_file = '.pvs"' in text or (words and (suggestion(words[0], ["include"]) is not None))
        self.result.lost_include |= bool(names_file)

    # braces

    def _opener(self, item: _Item) -> int:
        """The brace without a partner: one whose partner is too far left, or the last one that is unclosed."""
        open_: list[tuple[int, int]] = []
        indent = 0
        for index in range(item.first, item.end):
            token = self.tokens[index]
            indent = token.column if token.is_first else indent
            if token.text == "{":
                open_.append((index, indent))
            elif token.text == "}" and open_:
                opener, column = open_.pop()
                if token.is_first and token.column < column:
                    return opener
        return item.open[-1]

    def _open_before_else(self, item: _Item) -> tuple[int, int] | None:
        """The brace that is open where an `else` that begins a block follows no closed one, and that `else`."""
        open_: list[int] = []
        for index in range(item.first, item.end - 1):
            word = self.tokens[index].text
            if word == "{":
                open_.append(index)
            elif word == "}" and open_:
                open_.pop()
            elif word == "else" and open_ and self._is_block_of_else(index) and self.tokens[index - 1].text != "}":
                return open_[-1], index
        return None

    def _is_block_of_else(self, index: int) -> bool:
        return self.tokens[index + 1].text in ("{", "if")

    def _line_start(self, index: int) -> int:
        while not self.tokens[index].is_first:
            index -= 1
        return index

    def _begins_block(self, opener: int) -> bool:
        """Whether a block can follow the words before a brace."""
        return not _BLOCKS.isdisjoint(self._begins(opener))

    def _begins(self, opener: int) -> list[str]:
        """The words of the brace's line with which something may begin."""
        line = self.tokens[self._line_start(opener) : opener]
        return [a.text for a, b in zip(line, [None, *line], strict=False) if b is None or b.text in ("{", "}")]

    def _block(self, item: _Item, opener: int) -> tuple[str, Span]:
        """A block's first words, and its location."""
        first = max(self._line_start(opener), item.first)
        named = [token.text for token in self.tokens[first : min(first + 3, opener)]]
        words = " ".join(named[:2]) or "{"
        return words, Span(self.source, self.tokens[first].start, self.tokens[opener].end)

    def _unclosed(self, item: _Item, opener: int, before: int) -> Diagnostic:
        """The finding for a brace without a partner, which was missed before a token, or at the end."""
        words, span = self._block(item, opener)
        where = f"{self.source.name}:{span.line}"
        if before == len(self.tokens):
            end = self.tokens[-1].end
            place = Span(self.source, end, end + 1)
            message = "unexpected end of file: the block `{}` opened at {} is not closed"
        else:
            head = self.tokens[before]
            place = Span(self.source, head.start, head.end)
            message = f"unexpected `{head.text}`: the block `{{}}`, opened at {{}}, is not closed"
        labels = (Label(place, "expected `}` before this"), Label(span, "opened here"))
        return Diagnostic("PV002", message.format(words, where), labels)

    def _closed(self, item: _Item, text: str, start: int) -> str:
        """The item's text with missing braces added, which are reported."""
        missing = len(item.open)
        found = self._open_before_else(item)
        if found is not None:
            opener, before = found
            self._add(partial(self._unclosed, item, opener, before))
            at = self.tokens[before].start - 1 - start
            return text[:at] + "}" + text[at + 1 :] + "}" * (missing - 1)
        opener = self._opener(item)
        brace = self.tokens[opener].start - start
        without = text[:brace] + " " + text[brace + 1 :] + "}" * (missing - 1)
        if not self._begins_block(opener) or self._is_grammatical(without):
            place = Label(Span(self.source, start + brace, start + brace + 1), "no block begins here")
            self._add(lambda: Diagnostic("PV002", "unexpected `{`", (place,)))
            return without
        self._add(partial(self._unclosed, item, opener, item.end))
        if item.end == len(self.tokens):
            self._leave_out(text[: text.index("{")])  # more than its brace may be missing
        if opener not in item.open:
            indent = self.tokens[self._line_start(opener)].column
            for token in self.tokens[opener + 1 : item.end]:
                if token.is_first and token.column <= indent:
                    at = token.start - 1 - start
                    text = text[:at] + "}" + text[at + 1 :]
                    missing -= 1
                    break
        return text + "}" * missing

    def _is_grammatical(self, text: str) -> bool:
        try:
            self.parse(text)
        except Refused:
            return False
        return True

    def _after_the_end(self, item: _Item) -> Diagnostic:
        """Report what follows a brace that closed its item."""
        token, brace = self.tokens[item.first], self.closed_by
        assert brace is not None
        labels = [Label(Span(self.source, token.start, token.end), "no block is open here")]
        labels += [Label(Span(self.source, brace.start, brace.end), "the last one was closed here")]
        return Diagnostic("PV002", f"unexpected `{shortened(token.text)}` after the end of a block", tuple(labels))

    # inside an item

    def _read_text(self, text: str, start: int) -> None:
        try:
            self.result.trees.append((self.parse(text), start))
            return
        except Refused as refused:
            whole = refused
        blanked = self._without_wrong_parts(text, start)
        if blanked is not None and blanked != text:
            try:
                self.result.trees.append((self.parse(blanked), start))
            except Refused as refused:
                self._leave_out(text)
                if text.split(None, 1)[0] not in _FILLER:  # or nothing valid is left in it
                    self._add(partial(refused.finding, start))
        else:
            self._add(partial(whole.finding, start))
            self._leave_out(text)

    def _without_wrong_parts(self, text: str, start: int) -> str | None:
        """The text with invalid constructs blanked; None if it is not a block."""
        tokens = _scan(text)
        brace = next((index for index, token in enumerate(tokens) if token.text == "{"), None)
        if brace is None:
            return None
        header = text[: tokens[brace].end]
        if len(header) > _MAX_JOINED:  # it is parsed with each construct
            return None
        try:
            self.parse(f"{header} {_FILLER.get(tokens[0].text, '')}}}")
        except Refused:
            return None
        body = tokens[brace + 1 : -1] if tokens[-1].text == "}" else tokens[brace + 1 :]
        pieces, end = [], 0
        self._leave_out(header)  # what the block itself lacks is unknown too
        for first, last in self._wrong_parts(text, header, _constructs(body), start):
            self._leave_out(text[first:last])
            pieces += [text[end:first], " " * (last - first)]
            end = last
        return "".join([*pieces, text[end:]])

    def _wrong_parts(
        self, text: str, header: str, parts: Sequence[tuple[int, int]], start: int
    ) -> list[tuple[int, int]]:
        """Where each invalid construct begins and ends; each is reported, unless it only continues another one."""
        wrong: list[tuple[int, int]] = []
        reports: dict[int, Refused] = {}
        before: tuple[int, int] | None = None
        for first, last in parts:
            refused = self._refused(header, text[first:last])
            begins = refused is None or refused.at > len(header)
            may_go_on = refused is not None and before is not None and (not begins or before in wrong[-1:])
            if before and may_go_on and self._is_one(header, text[before[0] : last]):
                if before in wrong[-1:]:
                    reports.pop(wrong.pop()[0], None)
                before = (before[0], last)
                continue
            if refused is not None:
                if begins or before not in wrong[-1:]:
                    reports[first] = refused
                wrong.append((first, last))
            before = (first, last)
        for first, refused in reports.items():
            self._add(partial(refused.finding, start + first - len(header)))
        return wrong

    def _is_one(self, header: str, construct: str) -> bool:
        """Whether this, which looks like several constructs, is one: then its last part cannot begin a construct."""
        return len(construct) <= _MAX_JOINED and self._refused(header, construct) is None

    def _refused(self, header: str, construct: str) -> Refused | None:
        try:
            self.parse(f"{header}{construct}}}")
        except Refused as refused:
            return refused
        return None


def _constructs(body: Sequence[_Token]) -> list[tuple[int, int]]:
    """Where each construct of a block begins and ends, judging by its lines."""
    parts: list[tuple[int, int]] = []
    depth, before = 0, ""
    for token in body:
        begins = (
            depth == 0
            and token.is_first
            and token.column <= body[0].column
            and token.text not in _GOES_ON_BEFORE
            and (token.text[0] == '"' or token.text[0].isalnum() or token.text[0] in "_$%")
            and before not in _GOES_ON_AFTER
        )
        if begins or not parts:
            parts.append((token.start, token.end))
        else:
            parts[-1] = (parts[-1][0], token.end)
        depth += (token.text == "{") - (token.text == "}")
        before = token.text
    return parts
