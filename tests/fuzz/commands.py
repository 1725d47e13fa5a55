"""Whole commands, with hostile files and arguments: how they end, what they print, and what they leave behind."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TextIO, cast
from zlib import crc32

from pvspec.cli import main
from tests.fuzz.archives import made as made_package
from tests.fuzz.compression import made as made_stream
from tests.fuzz.dumps import made as made_dump
from tests.fuzz.elf import module
from tests.fuzz.executables import broken
from tests.fuzz.files import folder
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target
from tests.fuzz.machine import made_lines, made_processors
from tests.fuzz.patches import made_kernel, vmlinux
from tests.fuzz.specs import made as made_spec
from tests.fuzz.symbols import made_map

_LINE, _WORD = b"\n", b"\x1f"
_OF_KERNELS = """--cpus --cmdline --hypervisor --features --kaslr --nops --option --state --symbols
--vulnerabilities --config --assume --vmlinux --load-address --spec"""
_OTHERS = (
    "--cpu --backend -o --output --json --check --deny-warnings --regions --strategy --svg --include --kernel --machine"
)
OPTIONS = frozenset((*_OF_KERNELS.split(), *_OTHERS.split()))
"""All that are tried; `--confined` would confine the fuzzer."""

_WORDS = (
    *(option.encode() for option in sorted(OPTIONS)),
    *(b"EPYC", b"Haswell", b"1", b"nosmp", b"xen", b"kvm", b"-erms,x", b"0x1e000000", b"k8", b"pae=true", b"unfilled"),
    *(b"\x1f", b"9" * 20, b"/dev/zero", b"fifo", b".", b"-", b"out", b"a", b"b"),
)
_ODD = (
    "",
    "/dev/zero",
    "/dev/stdin",
    "/dev/full",
    "fifo",
    ".",
    "..",
    "/proc/self/mem",
    "/proc/self/environ",
    "x" * 5000,
    "a",
    "b",
    "\x1b[31m",
    "link",
    "missing/x",
)
_TEXTS = {
    **{
        "--cpus": ("1", "2", "0", "-1", "9" * 5000, "x"),
        "--cmdline": ("nosmp", "a b" * 5000, '"', "clearcpuid=1,2"),
        "--nops": ("k8", "p6", "x"),
    },
    **{
        "--features": ("erms", "-erms", "x", "," * 5000, "erms," * 500, "x1," * 1500),
        "--kaslr": ("0x1e000000", "0", "-1", "0x" + "f" * 40),
    },
    **{
        "--hypervisor": ("native", "xen", "kvm", "hyperv", "x" * 1000),
        "--option": ("pae=true", "x=true", "pae", "=" * 100),
        "--assume": ("A=yes", "x=no", "threads=1", "microcode=0x1f", "A", "A=" + "9" * 100),
        "--load-address": ("0xffffffffc0000000", "1", "x"),
    },
}
_OUTPUTS = ("-o", "--o", "--sv")  # how the options begin that name an output
_WAITS = 32  # one of so many inputs has a pipe that nobody writes to: a command may wait some seconds for a writer
_LARGEST_OUTPUT = 8 << 20  # bytes
_TRACEBACK = re.compile(rb"^Traceback \(most recent call last\)", re.M)


@cache
def _here() -> Path:
    """The folder in which commands run."""
    place = folder() / "here"
    place.mkdir()
    os.mkfifo(folder() / "fifo")
    (folder() / "spec").mkdir()
    shutil.copy(Path(__file__).with_name("kernel.pvs"), folder() / "spec")
    return place


def encoded(words: list[str], files: dict[str, bytes]) -> bytes:
    """A command as an input: its words in a line, then each file with a line of its name and size."""
    line = _WORD.join(word.encode("utf-8", "surrogateescape").replace(_LINE, b" ") for word in words) + _LINE
    return line + b"".join(b"%s %d\n" % (name.encode(), len(data)) + data for name, data in files.items())


def _decoded(data: bytes) -> tuple[list[str], dict[str, bytes]]:
    line, _, rest = data.partition(_LINE)
    words = [word.replace(b"\0", b"").decode("utf-8", "surrogateescape") for word in line.split(_WORD)]
    files: dict[str, bytes] = {}
    while rest and len(files) < 4:
        head, _, rest = rest.partition(_LINE)
        name, _, size = head.partition(b" ")
        count = int(size) if size.isdigit() and len(size) < 8 else len(rest)
        if name in (b"a", b"b", b"c", b"a.pvs"):
            files[name.decode()] = rest[:count]
        rest = rest[count:]
    return words, files


def _run(data: bytes) -> str:
    """A status that is documented; text that can be shown; the output whole or not there, and nothing else new."""
    words, files = _decoded(data)
    place = _here()
    shutil.rmtree(place)
    place.mkdir()
    for name, content in {**files, "old": b"old"}.items():
        (place / name).write_bytes(content)
    (place / "out").write_bytes(b"before")
    (place / "link").symlink_to("old")
    if crc32(data) % _WAITS:
        (place / "fifo").write_bytes(b"")
    else:
        (place / "fifo").symlink_to(folder() / "fifo")
    before = set(os.listdir(place))
    os.chdir(place)
    status, printed, said = _ended(words)
    assert status in (0, 1, 2), f"status {status}"
    assert not _TRACEBACK.search(printed + said), "a traceback"
    for line in said.decode("utf-8").split("\n") + printed.decode("utf-8").split("\n"):
        assert line.isprintable(), f"not printable: {line[:80]!r}"
    assert status == 0 or said or b'"problems"' in printed or b'"errors"' in printed or b'"ok": false' in printed, (
        "fails in silence"
    )
    assert b"not enough memory" not in said
    outputs = {name for word, name in pairwise(words) if word.startswith(_OUTPUTS) and status == 0}
    new = set(os.listdir(place)) - before - outputs
    assert not new, f"stray files: {sorted(new)[:3]}"
    assert (place / "old").read_bytes() == b"old", "written through a link"
    whole = (place / "out").read_bytes()
    assert whole == b"before" or status == 0 or words[:1] == ["simulate"], "written by a command that failed"
    writes = words[:1] == ["fmt"] or any(word.startswith(_OUTPUTS) for word in words)
    for name, content in files.items():
        assert (place / name).read_bytes() == content or writes, "an input was changed"
    return f"{words[0][:9]} {status} {said[:300].decode('utf-8', 'replace')}"


def _ended(words: list[str]) -> tuple[int, bytes, bytes]:
    """The status of a command, and what it printed; the standard streams are files meanwhile, the input is empty."""
    files = [os.memfd_create(name) for name in ("in", "out", "err")]
    kept = [os.dup(number) for number in range(3)]
    streams = sys.stdin, sys.stdout, sys.stderr
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        sys.stdin, sys.stdout, sys.stderr = (_stream(number, mode) for number, mode in enumerate("rww"))
        status = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
        return status, _read(files[1]), _read(files[2])
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, file in enumerate(kept):
            os.dup2(file, number)
        for file in (*files, *kept):
            os.close(file)


def _stream(number: int, mode: str) -> TextIO:
    errors = "backslashreplace" if number == 2 else "strict"
    return cast(TextIO, open(number, mode, encoding="utf-8", errors=errors, closefd=False))


def _read(file: int) -> bytes:
    data = os.pread(file, _LARGEST_OUTPUT + 1, 0)
    assert len(data) <= _LARGEST_OUTPUT, "it prints more than 8 MiB"
    return data


def _command_of_kernel(name: str, h: Hostile) -> bytes:
    """One of the commands that take a kernel, a machine, and much more."""
    files: dict[str, bytes] = {"a": h.random.choice(_KERNELS)(h)}
    words = [name, h.one("a", _ODD)]
    if name == "explain":
        words.append(
            h.one(
                "_text+0x20",
                ("0x" + "f" * 40, "thunk_rax", "_text+99999999999999999999", "x" * 2000, "ffffffff81000040"),
            )
        )
    elif name == "diff-text":
        files["b"] = h.random.choice((made_dump(h), bytes(384), b""))
        words += [h.one("b", _ODD), h.one("b", _ODD)]
    words += ["--cpu", h.one("EPYC", ("Haswell", "x", "c", *_ODD))]
    words += ["--spec", "../spec"] if h.random.random() < 0.7 else []
    for option in h.random.sample(_OF_KERNELS.split(), h.random.choice((0, 0, 1, 2, 4))):
        words += [option, h.random.choice(_TEXTS.get(option, ("b", "b", "c", *_ODD)))]
    if "b" in words and "b" not in files:
        files["b"] = h.random.choice((made_dump, made_map, made_kernel, made_lines, made_spec))(h)
    if "c" in words:
        files["c"] = h.random.choice((made_processors, made_lines, made_map))(h)
    if name in ("apply", "predict"):
        words += ["-o", h.one("out", _ODD[1:])] if h.random.random() < 0.8 or name == "apply" else []
    return encoded(words + ["--json"] * (h.random.random() < 0.3), files)


_KERNELS: tuple[Callable[[Hostile], bytes], ...] = (
    *(made_kernel, made_kernel, made_kernel, made_package, partial(made_stream, "zstd"), partial(made_stream, "gzip")),
    *(lambda h: broken(h, vmlinux(), 64), lambda h: broken(h, module(64), 64)),
)


def _command_of_spec(h: Hostile) -> bytes:
    name = h.random.choice(("check", "fmt", "compile", "test", "prove", "simulate", "check", "fmt", "expand"))
    words = [name, h.one("a.pvs", _ODD)] + [h.one("b", _ODD)] * (
        h.happens() and name not in ("compile", "simulate", "expand")
    )
    words += ["-o", h.one("out", _ODD[1:])] if name == "compile" or (name == "expand" and h.happens()) else []
    words += ["--kernel", h.one("6.1", ("6", "9" * 50, "5.10.7", "x"))] if name != "fmt" and h.happens(4) else []
    words += ["--machine", h.one("x86_64", ("", "i386", "x" * 900))] if name != "fmt" and h.happens(4) else []
    words += ["--regions"] if name == "prove" and h.random.random() < 0.5 else []
    words += ["--backend", h.one("xen", ("b", "x")), "--strategy", "unfilled"] if name == "simulate" else []
    words += ["--check"] if name == "fmt" and h.random.random() < 0.5 else []
    return encoded(words + ["--json"] * (h.random.random() < 0.3), {"a.pvs": made_spec(h), "b": b"machine"})


def _kernel_seeds(name: str) -> Iterator[bytes]:
    more = {"explain": ["_text+0x20"], "diff-text": ["b", "b"], "apply": ["-o", "out"], "predict": ["-o", "out"]}[name]
    yield encoded([name, "a", *more, "--cpu", "EPYC", "--spec", "../spec"], {"a": vmlinux(), "b": bytes(0x180)})
    yield encoded(
        [name, "a", *more, "--cpu", "Haswell", "--spec", "../spec", "--json"], {"a": vmlinux(), "b": bytes(0x180)}
    )


def _spec_seeds() -> Iterator[bytes]:
    spec = Path(__file__).with_name("kernel.pvs").read_bytes()
    for words in (
        ["check", "a.pvs"],
        ["fmt", "a.pvs"],
        ["compile", "a.pvs", "-o", "out"],
        ["test", "a.pvs", "--json"],
        ["prove", "a.pvs"],
        ["simulate", "a.pvs"],
        ["expand", "a.pvs"],
    ):
        yield encoded(words, {"a.pvs": spec})


def targets() -> Iterator[Target]:
    for name in ("predict", "apply", "explain", "diff-text"):
        yield Target(
            f"command-{name}",
            False,
            partial(_kernel_seeds, name),
            _WORDS,
            _run,
            partial(_command_of_kernel, name),
        )
    yield Target(
        "command-spec",
        True,
        _spec_seeds,
        _WORDS,
        _run,
        _command_of_spec,
    )
