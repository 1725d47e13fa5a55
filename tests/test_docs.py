"""The pages say what happens: their specs, commands and examples are run.

What the fence of a block says:

- `pvs FILE`: it is written to that file.
- `console`: what follows `$ ` (`> `) is run, and must print the lines after it.
- `console kernel`: the same, on the newest Debian kernel of that kind. If that is the one that the page names, the
  output must be the page's; else it must be so in all that does not depend on the point release: see `masked`.
- `python`: doctests of compiled modules, with nothing but the standard library.
- `python api`: doctests of the API, on the small kernel of `tests/prediction` and the page's specs.
- `python api kernel`: the same, on the Debian kernel, whatever its point release.

`--bless` writes anew what commands print, for the kernel that there is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pvspec.cli import COMMANDS
from pvspec.compiler.pipeline import compile_spec
from pvspec.lang.format import format_text
from pvspec.lang.source import Source
from pvspec.support.paths import resource

from . import limits
from .oracle import fetch, matrix, table
from .prediction import kernel as small_kernel

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "specs" / "README.md",
    *sorted(ROOT.joinpath("docs").glob("*.md")),
]
PACKAGE = re.compile(r"linux-image-[\w.+-]+-cloud-amd64(?:-unsigned)?_[\w.+-]+_amd64\.deb")
MODULES = {"paravirt": ("linux-2.6.23/i386", None, None), "linux61": ("linux", "6.1", "x86_64")}
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^\$ (?P<text>.*(?:\n> .*)*)\n", re.M)
Golden = Callable[[Path, str], None]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: what the fence says, the text, and where that is in the page."""

    info: str
    body: str
    start: int
    end: int


def blocks(text: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        yield Block(found["info"].strip(), found["body"], *found.span("body"))


def pages(info: str) -> list[Path]:
    """The pages that have such a block."""
    return [page for page in PAGES if any(block.info == info for block in blocks(page.read_text(encoding="utf-8")))]


def named(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with `specs` in it and this pvspec and Python on the path; it is the current one."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, call in ("pvspec", "-m pvspec"), ("python3", ""):
        tools.joinpath(name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        tools.joinpath(name).chmod(0o755)
    place = tmp_path / "desk"
    place.mkdir()
    place.joinpath("specs").symlink_to(resource("specs"))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def package(desk: Path) -> str:
    """The name of the newest kernel's package, which is in the desk."""
    try:
        found = fetch.kernel_package("amd64", "cloud-amd64")
    except fetch.Unavailable as reason:
        pytest.skip(str(reason))
    desk.joinpath(found.name).symlink_to(found)
    return found.name


def write_spec(block: Block) -> None:
    """Write the block to its file, if it is one."""
    kind, _, name = block.info.partition(" ")
    if kind == "pvs" and name:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(block.body, encoding="utf-8")


def transcript(body: str) -> str:
    """The block's commands, each with what it prints now."""
    return "".join(found[0] + printed(found["text"]) for found in COMMAND.finditer(body))


def printed(command: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command.replace("\n> ", "\n")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return re.sub(r"\n+\Z", "\n", done.stdout)


def played(text: str, console: str) -> str:
    """The page's text, after its files were written and its commands run in order, with what those print now."""
    out, done = "", 0
    for block in blocks(text):
        write_spec(block)
        if block.info == console:
            out += text[done : block.start] + transcript(block.body)
            done = block.end
    return out + text[done:]


@pytest.mark.parametrize("page", pages("console"), ids=named)
@pytest.mark.usefixtures("desk")
def test_commands(page: Path, golden: Golden) -> None:
    golden(page, played(page.read_text(encoding="utf-8"), "console"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("desk")
def test_each_option_is_on_the_page(command: str) -> None:
    page = ROOT.joinpath("docs", "commands.md").read_text(encoding="utf-8")
    options = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", printed(f"pvspec {command} --help"))) - {"-h", "--help"}
    assert "--json" in options
    named = re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(re.findall(r"`[^`\n]+`", FENCE.sub("", page))))
    assert options - set(named) == set()


# ---- on a kernel

RELEASE = re.compile(r"\b\d+\.\d+\.\d+-\d+-cloud-amd64\b")
CELLS = r"(?:[0-9a-f]{2}|\?\?)"
CODE = re.compile(rf"(?<= ){CELLS}(?: {CELLS})*(?=  | \||$)|(?<=\"){CELLS}+(?=\")")
ADDRESS = re.compile(r"\b0x[0-9a-f]{5,}\b|(?<=[+-])( ?)0x[0-9a-f]+\b")
COUNT = re.compile(r" *(?<![\w.:])[1-9]\d*\b")


def masked(text: str) -> str:
    """A transcript without what another point release of the kernel changes.

    Left out are the package's name and the release; in lines of code and of JSON each byte (`??` is none), so that a
    code's length stays; numbers in hexadecimal of five digits or more, and distances (`+0x76`); decimal numbers but 0,
    with the spaces before them, since columns are as wide as their numbers. All else stays: tables and column heads,
    what is 0, words and symbols, mnemonics and registers, a record's fields that are small; and a line with a rule, its
    place and its text, as it is.
    """
    lines = RELEASE.sub("RELEASE", PACKAGE.sub("PACKAGE", text)).splitlines(keepends=True)
    return "".join(line if line.startswith("  rule ") else _masked(line) for line in lines)


def _masked(line: str) -> str:
    if line.startswith(" ") or " | " in line:
        line = CODE.sub(lambda found: re.sub("[0-9a-f]{2}", "..", found[0]), line)
    return COUNT.sub(" COUNT", ADDRESS.sub("ADDRESS", line))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("6.1.0-56-cloud-amd64 on x86_64: text 0xffffffff81000000", "6.1.0-57-cloud-amd64 on x86_64: text 0x17a00000"),
        ("returns     9999    35609       0       0", "returns    10000        8       0       0"),
        ("verify_cpu+0xec: e9 0f 18 e0 00 | c3 cc", "verify_cpu+0x1ec: e9 10 18 e0 00 | c3 cd"),
        ("  before  ff 15 d4 74 a3 01   call [rip + 0x1a374d4]", "  before  ff 15 d4 75 a3 01   call [rip + 0xd4]"),
        ('      "after": "e83ff7ffff",', '      "after": "e840f7ffff",'),
        ("pv_ops: record 7 of .parainstructions: len 0x6", "pv_ops: record 12 of .parainstructions: len 0x6"),
    ],
)
def test_a_point_release_is_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("6.1.0-56-cloud-amd64 on x86_64", "6.1.0-56-cloud-amd64 on i386"),
        ("6.1.0-56-cloud-amd64 on x86_64", "6.12.118+deb13-cloud-amd64 on x86_64"),
        ("returns  48084  45964  0  0", "returns  48084  45964  45964  0"),
        ("records  in text  changed  dynamic", "records  in text  changed  two-formed"),
        ("  after   9c            pushfq", "  after   9c            popfq"),
        ("  after   9c 90         nop", "  after   9c            nop"),
        ("  after   90            mov rax, rbx", "  after   90            mov rax, rcx"),
        ('      "code": "e8????????"', '      "code": "e8??????90"'),
        ('      "after": "e83ff7ffff",', '      "after": "e83ff7",'),
        ("  rule    paravirt.pvs:143  call target", "  rule    paravirt.pvs:144  call target"),
        ("  rule    returns.pvs:16  bytes c3 cc", "  rule    returns.pvs:16  bytes c3 90"),
        ('      "rule": "paravirt.pvs:143"', '      "rule": "paravirt.pvs:144"'),
        ("site 0xffffffff81000000  len 0x6", "site 0xffffffff81000000  len 0x7"),
        ("verify_cpu+0xec: e9", "start_kernel+0xec: e9"),
    ],
)
def test_what_the_spec_says_is_not_masked(one: str, other: str) -> None:
    assert masked(one) != masked(other)


@pytest.mark.parametrize("page", pages("console kernel"), ids=named)
def test_commands_on_a_kernel(page: Path, package: str, golden: Golden, request: pytest.FixtureRequest) -> None:
    shown = page.read_text(encoding="utf-8")
    renamed = PACKAGE.sub(package, shown)
    now = played(renamed, "console kernel")
    if renamed == shown or request.config.getoption("--bless"):
        golden(page, now)
    else:
        assert masked(now) == masked(shown)


# ---- examples


def examples(text: str, info: str) -> str:
    return "\n".join(block.body for block in blocks(text) if block.info == info)


def run_examples(text: str, *options: str) -> None:
    """Run doctests in the desk, in a Python with these options."""
    Path("examples").write_text(text, encoding="utf-8")
    run = (
        "import doctest, sys; sys.path.append('.');"
        "print(doctest.testfile('examples', module_relative=False, optionflags=doctest.ELLIPSIS))"
    )
    done = subprocess.run([sys.executable, *options, "-c", run], capture_output=True, text=True)
    attempted = re.search(r"failed=0, attempted=(\d+)", done.stdout)
    assert attempted, done.stdout + done.stderr
    assert int(attempted[1]) == len(re.findall("^ *>>> ", text, re.M))


@pytest.mark.parametrize("page", pages("python"), ids=named)
def test_examples(page: Path, desk: Path) -> None:
    """The examples see nothing but the standard library and the compiled modules."""
    for name, (spec, kernel, machine) in MODULES.items():
        desk.joinpath(f"{name}.py").write_text(
            compile_spec(resource("specs", *spec.split("/")), kernel=kernel, machine=machine), encoding="utf-8"
        )
    run_examples(examples(page.read_text(encoding="utf-8"), "python"), "-I", "-S")


@pytest.mark.parametrize("page", pages("python api"), ids=named)
def test_api_examples(page: Path, desk: Path) -> None:
    small_kernel.build()
    desk.joinpath("cpuinfo").write_text(small_kernel.CPUINFO, encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    for block in blocks(text):
        write_spec(block)
    run_examples(examples(text, "python api"))


@pytest.mark.parametrize("page", pages("python api kernel"), ids=named)
def test_api_examples_on_a_kernel(page: Path, package: str, golden: Golden, request: pytest.FixtureRequest) -> None:
    renamed = PACKAGE.sub(package, page.read_text(encoding="utf-8"))
    run_examples(examples(renamed, "python api kernel"))
    if request.config.getoption("--bless"):
        golden(page, renamed)


# ---- pictures, tables, links


@pytest.mark.usefixtures("desk")
def test_the_picture(golden: Golden) -> None:
    printed("pvspec simulate --strategy all --svg simulation.svg")
    golden(ROOT / "docs" / "simulation.svg", Path("simulation.svg").read_text(encoding="utf-8"))


def test_the_tables_are_the_matrix_results(golden: Golden) -> None:
    golden(table.PAGE, table.with_tables(table.PAGE.read_text(encoding="utf-8"), table.read_results(matrix.RESULTS)))


def test_the_limits_are_those_of_the_code(golden: Golden) -> None:
    golden(limits.PAGE, limits.with_tables(limits.PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=named)
def test_paths_exist(page: Path) -> None:
    """Files and folders that the prose names, from the root, the package, the spec of Linux or the page."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    paths = re.findall(r"`([a-z_][\w.-]*/[\w./*-]*)`", prose)
    ours = [path for path in paths if not re.search(r"[A-Z]{2}", path)]  # NAME and the like are any
    folders = (ROOT, ROOT / "pvspec", ROOT / "specs" / "linux", page.parent)
    assert [path for path in ours if not any(any(folder.glob(path)) for folder in folders)] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_specs_are_in_the_canonical_layout(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.info.startswith("pvs ") and block.info != "pvs ragged.pvs":
            assert format_text(Source(block.info, block.body)) == block.body
