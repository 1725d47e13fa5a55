"""The pages say what happens: their specs, commands and examples are run.

A block whose fence says `pvs FILE` is written to that file. In one that says `console` what follows `$ ` (`> `) is run
and must print the lines behind it; `--bless` writes those anew. `console kernel` runs on the Debian package that the
page names, where apt still has that one. The examples in `python` blocks are doctests of compiled modules.
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

from pvspec.compiler.pipeline import compile_spec
from pvspec.lang.format import format_text
from pvspec.lang.source import Source
from pvspec.support.paths import resource

from .oracle import fetch, matrix, table

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "specs" / "README.md",
    *sorted(ROOT.joinpath("docs").glob("*.md")),
]
PACKAGE = re.compile(r"linux-image-[\w.+-]+-cloud-amd64_[\w.+-]+_amd64\.deb")
MODULES = {"paravirt": ("linux-2.6.23", "i386"), "linux61": ("linux-6.1", "x86_64")}
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^\$ (?P<text>.*(?:\n> .*)*)\n", re.M)
Golden = Callable[[Path, str], None]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: what stands behind the fence, the text, and where that lies in the page."""

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
        kind, _, name = block.info.partition(" ")
        if kind == "pvs" and name:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(block.body, encoding="utf-8")
        elif block.info == console:
            out += text[done : block.start] + transcript(block.body)
            done = block.end
    return out + text[done:]


@pytest.mark.parametrize("page", pages("console"), ids=named)
@pytest.mark.usefixtures("desk")
def test_commands(page: Path, golden: Golden) -> None:
    golden(page, played(page.read_text(encoding="utf-8"), "console"))


@pytest.mark.parametrize("page", pages("console kernel"), ids=named)
def test_commands_on_a_kernel(page: Path, desk: Path, golden: Golden) -> None:
    try:
        package = fetch.kernel_package("amd64", "cloud-amd64")
    except fetch.Unavailable as reason:
        pytest.skip(str(reason))
    shown = set(PACKAGE.findall(page.read_text(encoding="utf-8")))
    if shown != {package.name}:
        pytest.skip(f"the page shows {', '.join(shown)}, this machine gets {package.name}")
    desk.joinpath(package.name).symlink_to(package)
    golden(page, played(page.read_text(encoding="utf-8"), "console kernel"))


@pytest.mark.parametrize("page", pages("python"), ids=named)
def test_examples(page: Path, desk: Path) -> None:
    """The examples see nothing but the standard library and the compiled modules."""
    for name, spec in MODULES.items():
        desk.joinpath(f"{name}.py").write_text(compile_spec(resource("specs", *spec)), encoding="utf-8")
    examples = "\n".join(block.body for block in blocks(page.read_text(encoding="utf-8")) if block.info == "python")
    desk.joinpath("examples").write_text(examples, encoding="utf-8")
    run = "import doctest, sys; sys.path.append('.'); print(doctest.testfile('examples', module_relative=False))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", run], capture_output=True, text=True)
    attempted = re.search(r"failed=0, attempted=(\d+)", done.stdout)
    assert attempted, done.stdout + done.stderr
    assert int(attempted[1]) == examples.count(">>> ")


@pytest.mark.usefixtures("desk")
def test_the_picture(golden: Golden) -> None:
    printed("pvspec simulate --strategy all --svg simulation.svg")
    golden(ROOT / "docs" / "simulation.svg", Path("simulation.svg").read_text(encoding="utf-8"))


def test_the_tables_are_the_matrix_results(golden: Golden) -> None:
    golden(table.PAGE, table.with_tables(table.PAGE.read_text(encoding="utf-8"), table.read_results(matrix.RESULTS)))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_specs_are_in_the_canonical_layout(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.info.startswith("pvs ") and block.info != "pvs ragged.pvs":
            assert format_text(Source(block.info, block.body)) == block.body
