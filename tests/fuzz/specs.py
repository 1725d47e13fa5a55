"""Specs as attackers make them: derived from the grammar, and very many of each thing; parsed, laid out, run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pvspec.compiler.pipeline import check_spec
from pvspec.compiler.printout import render as render_module
from pvspec.lang.diagnostics import CODES, Diagnostic, SpecError, render
from pvspec.lang.expansion import expand_spec
from pvspec.lang.format import format_text
from pvspec.lang.parse import parse
from pvspec.lang.parse.grammar import keywords
from pvspec.lang.source import Source
from pvspec.lang.target import version_text
from pvspec.proof import prove_all
from pvspec.spectest import run_tests
from pvspec.support.paths import resource
from tests.fuzz.cell import expected
from tests.fuzz.derive import derived
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target

TESTS = Path(__file__).parent.parent
_INCLUDE = re.compile(r'^include "([^"\n]*)"\n', re.M)
_UNPLACED = {"PV001", "PV003", "PV104", "PV502"}  # a file as a whole, or what is in none
_VALUES = (
    *("0", "1", "8", "32", "64", "0xffffffff", "18446744073709551615", "null", "target", "elsewhere", "any", "none"),
    *("flags", "interrupt_flag", "eax", "rax", "len", "u8", "u16", "u32", "u64", "rel32", "u1", "u15", '""', '"90"'),
    *('"e8 00 00 00 00"', '"cli"', '"jmp x; x:"', '"call check"', '"mov eax, dword ptr [state]"', "{", "}", "(", ")"),
    *(
        f'include "{name}.pvs"'
        for name in ("good", "again", "spec", "binary", "endless", "folder", "fifo", "no", "../x")
    ),
    *('include "/proc/self/environ"', 'include "/dev/zero"', 'include "."', 'include "/etc/passwd"'),
    *('"""', "# ", "=>", "..", "==", "&", "$", "<<", ","),
)


def _one_file(path: Path) -> str:
    """A spec whose includes stand in their places."""
    return _INCLUDE.sub(
        lambda found: _included(path.parent / found[1]), path.read_text(encoding="utf-8", errors="replace")
    )


def _included(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.name == "base.pvs" else ""


def _paths() -> Iterator[Path]:
    for folder in ("pass", "run", "fail", "fuzz"):
        yield from sorted(TESTS.joinpath(folder).glob("*.pvs"))


def small() -> Iterator[bytes]:
    """The specs of the tests, each in one file."""
    yield from (_one_file(path).encode() for path in _paths())


def shipped() -> Iterator[bytes]:
    """Those and the first 25 lines of each shipped file."""
    yield from small()
    for path in sorted(resource("specs").rglob("*.pvs")):
        yield b"".join(path.read_bytes().splitlines(keepends=True)[:25])


@cache
def _words() -> Sequence[bytes]:
    return tuple(word.encode() for word in (*sorted(keywords().values()), *_VALUES))


def located(diagnostics: Sequence[Diagnostic]) -> str:
    """Each one says where, in the file, and can be shown; all that they say."""
    assert diagnostics
    for diagnostic in diagnostics:
        assert diagnostic.code in CODES
        assert diagnostic.labels or diagnostic.code in _UNPLACED, diagnostic
        for label in diagnostic.labels:
            assert 0 <= label.span.start < label.span.end + (label.span.text == ""), diagnostic
            assert label.span.end <= len(label.span.source.text) + 1, diagnostic  # behind the end, if that is the place
        assert all(line.isprintable() for line in render(diagnostic).split("\n"))
    return "; ".join(sorted({f"{diagnostic.code} {diagnostic.message}" for diagnostic in diagnostics}))


def _source(data: bytes) -> Source:
    return Source("spec.pvs", data.decode("utf-8", "replace"))


def _parse(data: bytes) -> str:
    try:
        parse(_source(data))
    except SpecError as error:
        return located(error.diagnostics)
    return ""


def _format(data: bytes) -> str:
    """Laid out twice is laid out once, and nothing but white space differs."""
    source = _source(data)
    try:
        once = format_text(source)
    except SpecError as error:
        return located(error.diagnostics)
    assert "".join(once.split()) == "".join(source.text.split())
    assert format_text(Source("spec.pvs", once)) == once
    return ""


@cache
def _file() -> Path:
    """The spec; beside it files that it may include, and one that never ends."""
    folder = Path(mkdtemp())
    folder.joinpath("good.pvs").write_bytes(TESTS.joinpath("base.pvs").read_bytes())
    folder.joinpath("again.pvs").write_text('include "spec.pvs"\n', encoding="utf-8")
    folder.joinpath("binary.pvs").write_bytes(bytes(range(256)))
    folder.joinpath("endless.pvs").symlink_to("/dev/zero")
    folder.joinpath("folder.pvs").mkdir()
    os.mkfifo(folder / "fifo.pvs")
    return folder / "spec.pvs"


def _check(data: bytes) -> str:
    """A sound one renders to Python that compiles."""
    _file().write_bytes(data)
    checked = check_spec(_file())
    if checked.diagnostics:
        return located(checked.diagnostics)
    if len(data) % 8 == 0:
        for program in checked.all_sound().values():
            compile(render_module(program), "<module>", "exec")
    return ""


def _expand(data: bytes) -> str:
    """What each kernel gets of a sound one is a sound one."""
    _file().write_bytes(data)
    checked = check_spec(_file())
    if checked.diagnostics:
        return located(checked.diagnostics)
    expanded = _file().with_name("expanded.pvs")
    for target in checked.programs:
        version = version_text(target.version) or None
        files = expand_spec(_file(), kernel=version, machine=target.machine, in_one=True)
        expanded.write_text("\n".join(file.text for file in files), encoding="utf-8")
        assert check_spec(expanded).diagnostics == ()
    return ""


def _run(data: bytes) -> str:
    """Its tests, and what is proven of it; a failed case is no error."""
    _file().write_bytes(data)
    try:
        results = run_tests(_file())
        proofs = prove_all(_file())
    except SpecError as error:
        expected(error)
        return located(error.diagnostics)
    assert all(line.isprintable() for proof in proofs for line in proof.lines(regions=True))
    return "; ".join(sorted({diagnostic.message for result in results for diagnostic in result.diagnostics}))


# ---- very many of each thing

_BASE = """{kernels}
machine x86_64 {{ bits 64 feature A 1 "a" feature B 2 "b" nops p {{ "90" }} choose nops p {machine} }}
cmdline {{ variable w = off {{ on, off }} early_param "w" -> w = on {line} }}
decide d in "d.c" {{ set A when w is on {steps} }}
interface pv {{ table ".p" {{ addr u64 type u8 len u8 clobber u16 pad 4 }} max_len 254 slot "ff 15" rel32
registers {{ rax 1 rcx 2 }} option wide : bool = false symbol s op o 1 {interface} }}
chain c {{ nop when target is s nop }} {items}
backend b for pv {{ o = {chain} {backend} otherwise = c }}
family f {{ table ".t" {{ site rel32 x u32 {fields} }} len 5 symbol t {family} }}
test b {{ o at 0x1000 len 6 => nops {cases} }}
"""
_GUARDS = ("cpu has A", "cpus > {at}", "not wide", "w is on", "target is s", "(cpu has A or cpus == {at})")


def _many(h: Hostile, text: str, join: str, most: int, usual: int = 2) -> str:
    """Such a text so many times, `{at}` being the number."""
    return join.join(
        text.replace("{at}", str(at))
        for at in range(min(h.times(usual, most), (1 << 18) // (len(text) + len(join) + 1)))
    )


def _guard(h: Hostile, depth: int = 0) -> str:
    """A guard, wide or deep."""
    guard = h.random.choice(_GUARDS).replace("{at}", str(h.times(1, 99)))
    if h.happens(4) and depth < 6:
        deep = h.times(2, 2000)
        guard = h.random.choice(("(", "not (")) * deep + guard + ")" * deep
    if h.random.random() < 0.3 and depth < 4:
        guard = _many(h, f"({_guard(h, depth + 1)})", h.random.choice((" or ", " and ")), 3000) or guard
    if h.happens(3):
        guard = (
            f"({h.random.choice(('since 6.1', 'before 6.1', 'on x86_64'))} {h.random.choice(('and', 'or'))} {guard})"
        )
    return guard


def _only(h: Hostile) -> str:
    """For which kernels, mostly all."""
    return (
        h.random.choice((" since 6.1", " before 6.1", " on x86_64", " on i386", " since 9.9")) if h.happens(5) else ""
    )


def _arm(h: Hostile, at: int = 0) -> str:
    actions = (
        f'asm "mov eax, {h.unbounded(at)}"',
        f'bytes "{_many(h, "90", " ", 100_000)}"',
        f'asm """{_many(h, "nop", ";", 20_000)}"""',
    )
    more = (
        f'asm "{_many(h, "l{at}: jmp l{at}", "; ", 5000)}"',
        "call target",
        "jmp s + 1",
        f'asm "add eax, {_sum(h)}"',
        f"c{h.times(1, 50)}",
    )
    return (
        h.random.choice((*actions, *more, "nop", 'bug "no"'))
        + _only(h)
        + f" when {_guard(h)}" * (h.random.random() < 0.7)
    )


def _sum(h: Hostile) -> str:
    term = h.random.choice(("1", "wide", "(1 + wide)", "2 * wide", "0x7fffffffffffffff", "9" * 30))
    return _many(h, term, h.random.choice((" + ", " * ", " - ")), 50_000) or "0"


def _arms(h: Hostile) -> str:
    return " else ".join(_arm(h, at) for at in range(min(max(1, h.times(2, 3000)), 400))) + _many(
        h, ' else bytes "90" when cpus == {at}', "", 5000, 0
    )


def _steps(h: Hostile) -> str:
    """Steps in a row, in each other, and one beside the other."""
    deep = h.times(1, 2000)
    return h.random.choice(
        (
            _many(h, f"set A, B when {_guard(h)}", "\n", 3000),
            _many(h, "let l{at} = cpus == {at}", "\n", 3000),
            _many(h, "w = on when cpus == {at}", "\n", 3000),
            f"if {_guard(h)} {{ " * deep + "clear B" + " }" * deep,
            _many(h, "if cpus == {at} { set B } else", " ", 3000) + " { clear B }",
            _many(h, 'open A from "w{at}" when not cpu has B', "\n", 3000),
        )
    )


def _chains(h: Hostile) -> str:
    """Chains that hold chains."""
    return "".join(
        f"chain c{at} {{ c{at - 1} when {_guard(h)} c{at - 1} }}\n" if at else "chain c0 { nop when cpu has A nop }\n"
        for at in range(h.times(2, 60))
    )


def _each(h: Hostile) -> str:
    names = _many(h, "n{at}", ", ", 5000)
    body = h.random.choice(
        ("symbol $r", 'asm "mov $r, eax"', "call $r when x is $r", "{ nop when x == 1 }", 'bytes "90 $r"')
    )
    return f"each r in {names or 'a'} {{ {_many(h, body, ' ', 500)} }}" if h.random.random() < 0.5 else ""


def made(h: Hostile) -> bytes:
    """A spec that is right but for what is wrong with its parts."""
    if h.random.random() < 0.35:
        return derived(h).encode("utf-8", "surrogateescape")
    parts = {
        "kernels": f"kernels 5.10, 6.1 {_many(h, ', 6.{at}00', '', 200, 0)} on x86_64"
        if h.random.random() < 0.3
        else "",
        "machine": _many(h, 'feature F{at} {at} "f{at}"', "\n", 20_000)
        + _many(h, ' nops q{at} { "90" "66 90" }', "\n", 3000, 0),
        "interface": _many(h, "op p{at} {at} + 2", "\n", 5000)
        + f" op q {_sum(h)}"
        + _many(h, " option w{at} : bool = false", "\n", 5000, 0),
        "line": _many(h, "variable v{at} = no { no, yes }", "\n", 3000)
        + _many(h, ' early_param "p{at}" -> w list { "on" "off" }', "\n", 3000, 0)
        + _many(h, ' harmless "h{at}"', "\n", 3000, 0),
        "steps": _steps(h),
        "items": _chains(h) + _many(h, "chain d{at} { nop }", "\n", 3000, 0),
        "chain": _arms(h),
        "backend": _many(h, "p{at} = c", "\n", 5000) + _many(h, " target p{at} = s when wide", "\n", 5000, 0),
        "fields": _many(h, "y{at} u8", " ", 5000, 1),
        "family": _each(h)
        + " "
        + _many(h, "nop when x == {at}", "\n", 3000)
        + _many(h, " reads r{at} u8 at x", "\n", 3000, 0),
        "cases": _many(
            h,
            h.random.choice(
                ("o at {at} len 6 => nops", 'o at 0x1000 len 6 with cpus = {at} => "90"', "o at {at} len 255 => nops")
            ),
            "\n",
            3000,
        ),
    }
    text = _BASE.format(**parts)
    if h.happens(3):
        at = h.random.randrange(len(text))
        text = (
            text[:at]
            + h.random.choice(
                (
                    '"',
                    '"""',
                    "{",
                    "(",
                    "# ",
                    "\n" * 5000,
                    "\u202e",
                    "\0",
                    "é" * 2000,
                    'include "again.pvs"',
                    "unknown " * 300,
                )
            )
            + text[at:]
        )
    return text.encode("utf-8", "surrogateescape")


def targets() -> Iterator[Target]:
    yield Target("parse", True, shipped, _words(), _parse, made)
    yield Target("format", True, shipped, _words(), _format, made)
    yield Target("check", True, small, _words(), _check, made)
    yield Target("run", True, small, _words(), _run, made)
    yield Target("expand", True, small, _words(), _expand, made)
