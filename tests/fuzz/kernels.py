"""Specs for several kernels, as attackers make them: what `expand` prints of one is the spec that this kernel had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import SpecError
from pvspec.lang.expansion import expand_spec
from pvspec.lang.target import TargetError, version_text
from tests.fuzz.cell import expected
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.fuzz.specs import located
from tests.targets.test_expansion import told

_SPEC = """kernels {kernels} on x86_64
{line}
machine x86_64, i386 {{ feature A 1 "a" feature B 2 feature C 3 {machine} }}
machine x86_64 {{
    bits 64
    nops p {{ "90" "66 90" }}
    choose nops p since 6.1 when cpu has A else p before 6.12 when cpu has B else p
}}
machine i386 {{ bits 32 nops p {{ "90" }} choose nops p }}
config CONF = kernel has conf
cmdline {{
    variable v = off {{ on, off, other }}
    variable n = 7
    early_param "v" -> v {{ "on" "off" before 6.12 "x" since 6.1 -> v = other, n = 1 }}
    {cmdline}
}}
decide first in "a.c" {{ let l = v is on or (v is other since_guard) {steps} }}
decide second in "b.c" since 6.1 {{ set C when n > 3 {steps} }}
policy {{ first, second since 6.1 }}
family f {{
    table ".t" {{ site rel32 x u16 y u16 }}
    len 5
    {family}
    nop
}}
{items}
passes {{ f }}
"""
_VERSIONS = ("since 6.1", "before 6.12", "since 5.10.100", "on x86_64", "on i386", "before 6.1", "since 6.12")
_LATER = (
    "cpu has A",
    "v is on",
    "n == 3",
    "config CONF",
    "kernel has conf",
    "cpu vendor is amd",
    "l",
    "v in on, other",
)
_LEAVES = {
    "machine": ("feature F{at} 3{at}", 'nops q{at} {{ "90" }}', 'feature G{at} 9{at} "g{at}"'),
    "cmdline": ('early_param "p{at}" -> v = on', 'harmless "h{at}"', 'setup "s{at}" -> n number', "variable w{at} = 3"),
    "steps": (
        "set A",
        "clear B, C",
        "v = on",
        "n = 5",
        "let m{at} = cpu has B",
        'open C from "you"',
        "set B unless told",
    ),
    "family": ('bytes "90 90 90 90 {at:02x}"', "nop", "keep", "symbol s{at}", "call s0", 'asm "nop"'),
    "items": ("chain c{at} {{ nop }}", "test f {{ site => nops }}", "config C{at} = cpu has A"),
}
_MOST = 1000
"""Lines, and guards, of one kind of place, beyond which nothing branches any more."""
_ARMS = ("bytes", "nop", "keep", "call", "asm", "set", "clear", "v =", "n =", "open")
"""How lines begin that may have a guard."""


class _Blocks:
    """Lines in blocks in blocks, of one kind of place."""

    def __init__(self, h: Hostile, place: str) -> None:
        self.h = h
        self.leaves = _LEAVES[place]
        self.asks = _VERSIONS if place in ("machine", "cmdline", "items") else _VERSIONS + _LATER
        self.at = 0
        self.asked = 0

    def lines(self, depth: int = 0) -> str:
        times = range(min(self.h.times(2, 2000), 300 if depth == 0 else 5) if self.at < _MOST else 1)
        return "\n".join(self._block(depth) if self.h.random.random() < 0.4 else self._leaf() for _ in times)

    def _leaf(self) -> str:
        self.at += 1
        line = self.h.random.choice(self.leaves).format(at=self.at)
        line += f" {self.h.random.choice(_VERSIONS)}" * (self.h.random.random() < 0.4)
        may = line.startswith(_ARMS)
        return line + f" when {self._guard(_VERSIONS + _LATER)}" * (may and self.h.random.random() < 0.5)

    def _block(self, depth: int) -> str:
        if depth > 3 or self.at > _MOST:
            return self._leaf()
        text = f"if {self._guard(self.asks)} {{ {self.lines(depth + 1)} }}"
        for _ in range(min(self.h.times(1, 60), 60)):
            text += f" else if {self._guard(self.asks)} {{ {self.lines(depth + 1)} }}"
        return text + f" else {{ {self.lines(depth + 1)} }}" * (self.h.random.random() < 0.5)

    def _guard(self, asks: Sequence[str], depth: int = 0) -> str:
        random = self.h.random
        self.asked += 1
        if depth < 3 and self.asked < _MOST and random.random() < 0.4:
            word = random.choice((" and ", " or "))
            return word.join(f"({self._guard(asks, depth + 1)})" for _ in range(min(max(self.h.times(2, 400), 2), 40)))
        return "not " * (random.random() < 0.3) + random.choice(asks)


def made(h: Hostile) -> bytes:
    """A spec that is right but for what is wrong with its blocks."""
    versions = h.shuffled(["5.10", "6.1", "6.12"])
    versions += [f"7.{at}" for at in range(h.times(0, 5000))]
    parts = {place: _Blocks(h, place).lines() for place in _LEAVES}
    line = h.one("", ("kernels 5.10, 6.1 on i386", "kernels 6.1.50 on x86_64", "kernels 3.2 on x", "if on i386 { }"))
    guard = h.one("and since 6.1", ("or on i386", "and not l", ""))
    text = _SPEC.format(kernels=", ".join(versions), line=line, **parts).replace("since_guard", guard)
    return h.data(text.encode())


def _seeds() -> Iterator[bytes]:
    parts = dict.fromkeys(_LEAVES, "")
    steps = "if since 6.1 { set A when v is on } else if cpu has B and on x86_64 { clear B } else { n = 5 }"
    items = (
        "test f { if since 6.1 { at 0x1000 x 1 => nops } }\nif since 6.12 { chain c { nop } } else { chain d { keep } }"
    )
    for more in ({}, {"steps": steps}, {"items": items}, {"steps": steps, "line": "kernels 5.10 on i386"}):
        text = _SPEC.format(**{"kernels": "5.10, 6.1, 6.12", "line": "", **parts, **more})
        yield text.replace("since_guard", "and since 6.1").encode()


@cache
def _folder() -> Path:
    return Path(mkdtemp())


def _expand(data: bytes) -> str:
    """What is left of a sound spec for a kernel is sound and says the same, and nothing more can be left out of it."""
    spec, left = _folder() / "spec.pvs", _folder() / "left.pvs"
    spec.write_bytes(data)
    checked = check_spec(spec)
    said = located(checked.diagnostics) if checked.diagnostics else ""
    for kernel in list(checked.programs)[:3]:
        expand = partial(expand_spec, kernel=version_text(kernel.version) or None, machine=kernel.machine, in_one=True)
        try:
            text = "\n".join(file.text for file in expand(spec))
            left.write_text(text, encoding="utf-8")
            again = "\n".join(file.text for file in expand(left))
        except (SpecError, TargetError) as error:
            assert checked.diagnostics, error
            return said + expected(error)
        if not checked.diagnostics:
            assert told(lower(check_spec(left).sound()).spec) == told(lower(checked.all_sound()[kernel]).spec)
            assert again == text
    return said


def targets() -> Iterator[Target]:
    words = (
        *_VERSIONS,
        *_LATER,
        "if ",
        "else ",
        "{ ",
        "} ",
        "kernels ",
        "policy ",
        "decide ",
        "let x = ",
        "not ",
        "(",
        ")",
    )
    yield Target("kernels", True, _seeds, [word.encode() for word in words], _expand, made)
