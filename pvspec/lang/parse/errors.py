"""lark's errors, explained in terms of the language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from lark.exceptions import UnexpectedCharacters, UnexpectedInput

from pvspec.lang.diagnostics import Diagnostic, Label, suggestion
from pvspec.lang.parse.grammar import WordsRunTogether, keywords
from pvspec.lang.source import Source, Span

Further = Callable[[str, int], bool]  # whether this text can be parsed beyond this offset
_LAST_WORD = re.compile(r'("[^"\n]*"|[A-Za-z0-9_$]+|[=-]>|[<>=!]=|\.\.|\S)\s*$')
_FOREIGN = (  # how other languages write something, how it is written here, and the help for it
    (re.compile(r"\|\|?"), "or", "write `or`"),
    (re.compile(r"&&"), "and", "write `and`"),
    (re.compile(r"!(?!=)"), "not ", "write `not`"),
    (re.compile(r"=(?!=)"), "==", "write `==` to compare"),
    (re.compile(r"!="), "is not", "write `is not`"),
    (re.compile(r"'"), None, 'strings are written `"…"`'),
)
_BESIDE = {"and": "or", "or": "and"}
_NAME = re.compile(r"[A-Za-z_]")
_ATT = re.compile(r"[%$]-?([A-Za-z0-9_]+)")
_STANDS_FOR = {"\u00d7": "*", "\u2026": "..", "\u2212": "-"}


class Refused(Exception):
    """A text that does not follow the grammar.

    `at` is the offset of the error in that text; `finding` makes the diagnostic from the offset in the source at which
    that text begins.
    """

    def __init__(self, at: int, finding: Callable[[int], Diagnostic]) -> None:
        super().__init__()
        self.at = at
        self.finding = finding


def run_together(source: Source, error: WordsRunTogether) -> Refused:
    """The error for two words without a space between them."""

    def finding(start: int) -> Diagnostic:
        place = Label(Span(source, start + error.start, start + error.end), "put a space between them")
        return Diagnostic("PV002", "two words run together", (place,))

    return Refused(error.start, finding)


def syntax_error(source: Source, text: str, error: UnexpectedInput, further: Further) -> Refused:
    """Where a text, which may be part of the source, stops following the grammar, and what could be there."""
    token = getattr(error, "token", None)
    is_end = token is not None and token.type == "$END"
    at = len(text) if is_end or error.pos_in_stream is None else error.pos_in_stream
    if isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
    else:
        expected = set(getattr(error, "accepts", None) or getattr(error, "expected", None) or ())
    word = "" if is_end else str(token) if token is not None else _word_at(text, at)

    def finding(start: int) -> Diagnostic:
        wanted = _wanted(expected)
        label = f"expected {wanted}" if wanted else ""
        # recovery added a brace at the end of a part of the source
        if is_end or (word == "}" and not source.text.startswith("}", start + at)):
            return _missing(source, text, start, at, label)
        foreign = _foreign(source, text, start, at, word, expected, further)
        if foreign is not None:
            return foreign
        place = Label(Span(source, start + at, start + at + max(len(word), 1)), label)
        help = next(_helps(text, at, word, expected, further), None)
        return Diagnostic("PV002", f"unexpected `{shortened(word)}`", (place,), help=help)

    return Refused(at, finding)


def _missing(source: Source, text: str, start: int, at: int, label: str) -> Diagnostic:
    last = _LAST_WORD.search(text[max(0, at - 200) : at])
    end = len(text[:at].rstrip())
    length = len(last[1]) if last else 0
    is_over = not source.text[start + at :].strip()
    what = "unexpected end of file" if is_over else "something is missing"
    after = f" after `{shortened(last[1])}`" if last else ""
    place = Span(source, start + end - length, start + end) if last else Span(source, start + end, start + end + 1)
    return Diagnostic("PV002", what + after, (Label(place, label),))


def _foreign(
    source: Source, text: str, start: int, at: int, word: str, expected: set[str], further: Further
) -> Diagnostic | None:
    """The error for what other languages or word processors write in such a place."""

    def named(length: int, message: str, label: str, help: str | None) -> Diagnostic:
        return Diagnostic("PV002", message, (Label(Span(source, start + at, start + at + length), label),), help=help)

    if text.startswith('"""', at):
        return named(3, "this string is not closed", 'add `"""` at its end', None)
    if text.startswith('"', at) and word[-1:] != '"'[: len(word) > 1]:
        end = source.text.find("\n", start + at)  # recovery may have added braces there
        length = (end if end >= 0 else len(source.text)) - start - at
        return named(length, "this string is not closed", "it must end on this line", None)
    char = text[at : at + 1]
    if char and not (char.isascii() and char.isprintable()):
        return named(1, f"unexpected `{char}`", *_unusual(char))
    if text.startswith("&&", max(at - 1, 0)):  # the first one may be an operator
        at -= 1
    att = _ATT.match(text, at)
    if att is not None and (char == "%" or att[1][0].isdigit()):
        is_enough = further(text[:at] + att[1] + text[att.end() :], at + len(att[1]) - 1)
        help = f"write `{shortened(att[1])}`" if is_enough else None
        return named(len(att[0]), f"`{shortened(att[0])}` is AT&T syntax", "", help)
    for pattern, here, help in _FOREIGN:
        match = pattern.match(text, at)
        if match and (here is None or further(text[:at] + here + text[match.end() :], at + len(here))):
            return named(len(match[0]), f"unexpected `{match[0]}`", "", help)
    if word in _BESIDE and _BESIDE[word].upper() in expected:
        help = "put what belongs together in brackets, as in `(… and …) or …`"
        return named(len(word), f"`{word}` beside `{_BESIDE[word]}`", "which of the two comes first?", help)
    before = _LAST_WORD.search(text[max(0, at - 80) : at])
    if before is not None and before[1] in ("==", "!=") and _NAME.match(word):
        instead = "is" if before[1] == "==" else "is not"
        return named(
            len(word), f"unexpected `{shortened(word)}`", "expected a number", f"write `{instead} {shortened(word)}`"
        )
    if before is not None and before[1] in ("asm", "bytes") and "STRING" in expected:
        help = f'write `{before[1]} "…"`'
        return named(max(len(word), 1), f"unexpected `{shortened(word)}`", "expected a string", help)
    return None


def _unusual(char: str) -> tuple[str, str]:
    """A character that is not part of the language: its name, and what to write instead."""
    name = unicodedata.name(char, "control character")
    label = f"U+{ord(char):04X} {name}"
    category = unicodedata.category(char)
    if char.isspace():
        return label, "use a plain space or newline"
    if category in ("Cc", "Cf"):
        return label, "remove it"
    plain = _STANDS_FOR.get(char) or unicodedata.normalize("NFKC", char)
    if "QUOTATION MARK" in name:
        plain = '"'
    elif category == "Pd":
        plain = "-"
    elif category == "Nd":
        plain = str(unicodedata.digit(char))
    if plain.isascii() and plain.isprintable():
        return label, f"write `{plain}`"
    return label, "outside strings and comments, specs are plain ASCII"


def _helps(text: str, at: int, word: str, expected: set[str], further: Further) -> Iterator[str]:
    """What the author may have meant: only a word with which the parser gets beyond this place."""
    if f"`{word}`" in _BEHIND and further(f"{text[:at]}and {text[at:]}", at + len("and ")):
        yield f"write `{word} …` before `when`, or `and {word} …`"
    close = suggestion(word, _keywords(expected))
    if close and further(text[:at] + close.split("`")[1] + text[at + len(word) :], at):
        yield close
    # a word that was read as a name may be a misspelt keyword
    before = re.search(r"([A-Za-z_]+)\s*$", text[max(0, at - 80) : at])
    if before is not None and before[1] not in (known := _keywords(keywords())):
        close = suggestion(before[1], known)
        start = at - len(before[0])
        if close:
            meant = close.split("`")[1]
            changed = text[:start] + meant + text[start + len(before[1]) :]
            if further(changed, at + len(meant) - len(before[1])):
                yield close


def _word_at(text: str, at: int) -> str:
    match = re.compile(r"\w+|.|$", re.DOTALL).match(text, at)
    return match.group() if match else ""


def shortened(word: str) -> str:
    """A word, shortened for a message."""
    return word if len(word) <= 40 else word[:37] + "…"


_SPOKEN = {
    "NAME": "a name",
    "INT": "a number",
    "STRING": "a string",
    "LONG_STRING": "",
    "TYPE": "a type (u8, rel32, …)",
    "READ_TYPE": "a type (u8, s32, …)",
    "COMPARE": "a comparison",
    "SIGN": "`+` or `-`",
    "CPU_NUMBER": "`family`, `model`, `stepping`, `microcode` or `threads`",
    "VERSION": "a version, as 6.1",
}


_BEHIND = {"`since`", "`before`", "`on`"}  # what may stand behind nearly everything


def _keywords(terminals: Iterable[str]) -> list[str]:
    return [keywords()[t] for t in terminals if t in keywords() and keywords()[t].isalpha()]


def _wanted(terminals: Iterable[str]) -> str:
    spoken = {_SPOKEN.get(t, f"`{keywords()[t]}`" if t in keywords() else "") for t in terminals} - {""}
    words = sorted(spoken - _BEHIND or spoken)
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
