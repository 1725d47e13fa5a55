"""The kernel's command line, as its own parsers read it: words, the variables that they set, and their values.

Linux has two. `parse_args` (kernel/params.c, lib/cmdline.c next_arg, init/main.c do_early_param and
obsolete_checksetup) goes over the line once for `early_param` and once for `__setup`; `cmdline_find_option`
(arch/x86/lib/cmdline.c) looks for one word. They are the same in Linux 5.10 to 6.12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from pvspec.engine.value import Map, Value

Setting: TypeAlias = str | int
Sets: TypeAlias = tuple[tuple[str, Setting], ...]
"""Variables, and what becomes of each."""

EARLY_PARAM, SETUP, FIND_OPTION, FIND_OPTION_BOOL = "early_param", "setup", "find_option", "find_option_bool"
MAX_COMMAND_LINE = 2047
"""Bytes of a command line that Linux on x86 reads (COMMAND_LINE_SIZE, and a zero); what follows is not read."""


class Variable(Value):
    """What a variable is by default, and the values that it may have; none: it is a number."""

    default: Setting
    values: tuple[str, ...] = ()


class Parameter(Value):
    """A word of the command line.

    `kind`: "values", "list" (values with commas between them), "flag" (any value, or none: then `sets`), "number" (of
    `variable`), "least" (such a number, of which the least positive one counts) or "features". `values`: what each
    value sets, and "" what the word alone does; `other`: what any other one sets, or the word alone.
    """

    parser: str
    word: str
    kind: str
    variable: str = ""
    values: Mapping[str, Sets] = Map()
    other: Sets | None = None
    sets: Sets = ()


class CommandLine(Value):
    """How a kernel reads its command line; `harmless` words change no text."""

    variables: Mapping[str, Variable] = Map()
    parameters: tuple[Parameter, ...] = ()
    harmless: frozenset[str] = frozenset()


class ReadLine(Value):
    """What one command line comes to.

    `values`: of each variable. `listed`: what follows the words that list features. `rejected`: words with a value
    that the kernel does not know and ignores. `unknown`: the names of words that the spec does not know.
    """

    values: Mapping[str, Setting]
    listed: Mapping[str, str] = Map()
    rejected: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read_line(text: str, command_line: CommandLine) -> ReadLine:
    """The variables' values once the kernel has read a command line."""
    line = text.encode("utf-8", "surrogateescape").decode("latin-1")[:MAX_COMMAND_LINE]
    return _Reading(command_line, line).result()


class _Reading:
    def __init__(self, command_line: CommandLine, line: str) -> None:
        self.command_line = command_line
        self.values = {name: variable.default for name, variable in command_line.variables.items()}
        self.listed: dict[str, str] = {}
        self.rejected: list[str] = []
        self.known: set[str] = set()
        self.line = line
        self.words = list(words(line))

    def result(self) -> ReadLine:
        by_parser: dict[str, list[Parameter]] = {}
        for parameter in self.command_line.parameters:
            by_parser.setdefault(parameter.parser, []).append(parameter)
        self._early(by_parser.get(EARLY_PARAM, ()))
        self._setup(by_parser.get(SETUP, ()))
        self._found(by_parser.get(FIND_OPTION, ()), by_parser.get(FIND_OPTION_BOOL, ()))
        harmless = {with_dashes(word) for word in self.command_line.harmless}
        names = dict.fromkeys(name for name, _ in self.words)
        unknown = [name for name in names if name not in self.known and with_dashes(name) not in harmless]
        return ReadLine(self.values, self.listed, tuple(dict.fromkeys(self.rejected)), tuple(unknown))

    def _early(self, parameters: Iterable[Parameter]) -> None:
        """Each occurrence of a word, in its order."""
        by_word: dict[str, list[Parameter]] = {}
        for parameter in parameters:
            by_word.setdefault(with_dashes(parameter.word), []).append(parameter)
        for name, value in self.words if by_word else ():
            for parameter in by_word.get(with_dashes(name), ()):
                self._apply(parameter, name, value)

    def _setup(self, parameters: Iterable[Parameter]) -> None:
        """Each word that begins so: what follows is its value, whether or not `=` is between them."""
        for name, value in self.words if parameters else ():
            word = name if value is None else f"{name}={value}"
            for parameter in parameters:
                if with_dashes(word).startswith(with_dashes(parameter.word)):
                    self._apply(parameter, name, word[len(parameter.word) :] or None)

    def _found(self, options: Iterable[Parameter], flags: Iterable[Parameter]) -> None:
        """Words between spaces, as they are; of several with a value the last."""
        words = re.split(r"[\0-\x20]+", self.line) if options or flags else []
        last = {name: value for name, equals, value in (word.partition("=") for word in words) if equals}
        for parameter in options:
            if parameter.word in last:
                self._apply(parameter, parameter.word, last[parameter.word])
        for parameter in flags:
            if parameter.word in words:
                self._apply(parameter, parameter.word, None)

    def _apply(self, parameter: Parameter, name: str, value: str | None) -> None:
        self.known.add(name)
        match parameter.kind:
            case "flag":
                self.values.update(parameter.sets)
            case "features":
                self.listed[parameter.word] = value or ""
            case "number" | "least":
                self._number(parameter, name, value)
            case "list":
                for part in value.split(",") if value is not None else [None]:
                    self._choose(parameter, name, part)
            case _:
                self._choose(parameter, name, value)

    def _number(self, parameter: Parameter, name: str, value: str | None) -> None:
        """get_option(): a value that begins with no number is 0, none changes nothing."""
        found = _NUMBER.match(value or "")
        if value and found:
            number, before = _number(*found.groups()), self.values[parameter.variable]
            if parameter.kind == "number" or (isinstance(before, int) and 0 < number < before):
                self.values[parameter.variable] = number
        if not found or not found[2]:
            self._reject(name, value)

    def _choose(self, parameter: Parameter, name: str, value: str | None) -> None:
        sets = parameter.other if value == "" else parameter.values.get(value or "", parameter.other)
        if sets is None:
            self._reject(name, value)
        else:
            self.values.update(sets)

    def _reject(self, name: str, value: str | None) -> None:
        self.rejected.append(name if value is None else f"{name}={value}")


_SPACE = "\t\n\x0b\x0c\r \xa0"  # lib/ctype.c
_NUMBER = re.compile(r"(-?)(0[xX][0-9A-Fa-f]+|0[0-7]*|[1-9][0-9]*|)")


def words(line: str) -> Iterator[tuple[str, str | None]]:
    """The words up to `--`, each as its name and value; a quote keeps spaces in a word."""
    at, end = 0, len(line)
    while at < end:
        if line[at] in _SPACE:
            at += 1
            continue
        quoted = line[at] == '"'
        at += quoted
        start, inside, equals = at, quoted, 0
        while at < end and (inside or line[at] not in _SPACE):
            if line[at] == "=" and not equals:
                equals = at - start
            inside ^= line[at] == '"'
            at += 1
        name, value = _parted(line[start:at], equals, quoted)
        if name == "--" and value is None:
            return
        yield name, value


def _parted(word: str, equals: int, quoted: bool) -> tuple[str, str | None]:
    """A word's name and value, without the quotes around the value, or around all."""
    name, value = (word[:equals], word[equals + 1 :]) if equals else (word, None)
    if value is None:
        return (name[:-1] if quoted and name.endswith('"') else name), None
    around = value.startswith('"')
    if (around or quoted) and len(value) > around and value.endswith('"'):
        value = value[:-1]
    return name, value[around:]


def with_dashes(name: str) -> str:
    """The name as parameq() compares it, to which dashes and underscores are alike."""
    return name.replace("_", "-")


def _number(sign: str, digits: str) -> int:
    """The C int of a number in base 8, 10 or 16."""
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[:1] == "0" else 10
    value = int(digits or "0", base)
    return ((-value if sign else value) + (1 << 31)) % (1 << 32) - (1 << 31)
