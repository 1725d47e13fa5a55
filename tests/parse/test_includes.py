"""What a spec may include: its own folder, the shipped specs, the folders of `--include`; nothing else is told of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pvspec.compiler.cached import load_spec
from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import SpecError, render
from pvspec.lang.files import SpecLines
from pvspec.support.paths import resource

MACHINE = 'machine m { bits 32 nops n { "90" } choose nops n }\n'
SECRET = "machine secret_of_mine { }\n"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec in a folder beside which there is a secret."""
    folder = tmp_path / "own"
    folder.joinpath("sub").mkdir(parents=True)
    folder.joinpath("machine.pvs").write_text(MACHINE)
    tmp_path.joinpath("other").mkdir()
    tmp_path.joinpath("other", "secret.pvs").write_text(SECRET)
    monkeypatch.chdir(folder)
    return folder / "spec.pvs"


def told(spec: Path, name: str, link: str | None = None, include: tuple[str, ...] = ()) -> str:
    """All that is said about a spec that includes this."""
    Path("link.pvs").unlink(missing_ok=True)
    if link is not None:
        Path("link.pvs").symlink_to(link)
    spec.write_text(f'include "machine.pvs"\ninclude "{name}"\n')
    return "\n".join(map(render, check_spec(spec, include=include).diagnostics))


OUTSIDE = [
    "../other/{}.pvs",
    "{}/../../other/{}.pvs",
    "/etc/{}.pvs",
    "sub/../../other/{}.pvs",
    "/proc/self/root/{}.pvs",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("is_link", [False, True])
def test_whether_a_file_outside_exists_is_not_told(spec: Path, path: str, is_link: bool) -> None:
    answers = set()
    for name in ("secret", "nothing"):
        target = path.replace("{}", name)
        answer = told(spec, "link.pvs" if is_link else target, target if is_link else None)
        assert answer.startswith("error[PV005]")
        assert "secret_of_mine" not in answer
        answers.add(answer.replace(name, "NAME").replace("^" * len(target), "^"))
    assert len(answers) == 1


def test_an_open_file_is_not_read_by_its_number(spec: Path, tmp_path: Path) -> None:
    with tmp_path.joinpath("other", "secret.pvs").open() as secret:
        for path in (f"/proc/self/fd/{secret.fileno()}", f"/dev/fd/{secret.fileno()}"):
            assert told(spec, path).startswith("error[PV005]")
            assert told(spec, "link.pvs", path).startswith("error[PV005]")


def test_a_folder_that_is_a_link_leads_nowhere_else(spec: Path, tmp_path: Path) -> None:
    Path("sub/way").symlink_to(tmp_path / "other")
    assert told(spec, "sub/way/secret.pvs").startswith("error[PV005]")
    Path("sub/loop.pvs").symlink_to("loop.pvs")
    assert "Too many levels" in told(spec, "sub/loop.pvs")


@pytest.mark.parametrize("target", ["sub/inner.pvs", "./sub/../sub/inner.pvs", "{}/sub/inner.pvs"])
def test_links_within_the_folder_are_followed(spec: Path, target: str) -> None:
    Path("sub/inner.pvs").write_text("# fine\n")
    assert told(spec, "link.pvs", target.format(os.path.realpath("."))) == ""
    assert told(spec, target.format(os.path.realpath("."))) == ""


def test_a_folder_that_the_user_names(spec: Path, tmp_path: Path) -> None:
    assert told(spec, "../other/secret.pvs", include=("../other",)).startswith("error[PV104]: machine `secret")
    assert told(spec, "link.pvs", "../other/secret.pvs", include=(str(tmp_path / "other"),)).startswith("error[PV104]")
    assert told(spec, "../other/secret.pvs", include=("../othe",)).startswith("error[PV005]")


def test_shipped_specs_may_be_included(spec: Path) -> None:
    spec.write_text(f'include "{resource("specs", "linux-2.6.23", "i386").resolve()}/machine.pvs"\n')
    assert check_spec(spec).diagnostics == ()


@pytest.mark.parametrize("make", [lambda path: path.write_text("contents_of_it:x\n"), os.mkfifo, os.mkdir])
def test_what_looks_like_no_spec_is_not_shown(spec: Path, make: Callable[[Path], None]) -> None:
    make(Path("secret.txt"))
    for found in (told(spec, "secret.txt"), *map(render, check_spec("secret.txt").diagnostics)):
        assert "cannot be read" in found or "contains no .pvs file" in found
        assert "contents_of_it" not in found
    Path("named.pvs").symlink_to("secret.txt")
    assert "contents_of_it" not in "".join(map(render, check_spec("named.pvs").diagnostics))


def test_a_folder_of_specs_with_a_link_out_of_it(spec: Path) -> None:
    Path("z.pvs").symlink_to("../other/secret.pvs")
    found = "".join(map(render, check_spec(spec.parent).diagnostics))
    assert found.startswith("error[PV005]")
    assert "secret_of_mine" not in found


def test_what_was_compiled_with_a_folder_is_refused_without_it(spec: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("other", "machine.pvs").write_text(MACHINE)
    Path("machine.pvs").unlink()
    spec.write_text('include "../other/machine.pvs"\nfamily f on m { table ".f" { site u32 } len 1 nop }\n')
    for _ in range(2):
        assert load_spec(spec.parent, include=[tmp_path / "other"]).machine.name == "m"
        with pytest.raises(SpecError, match="PV005"):
            load_spec(spec.parent)


def test_a_line_that_explains_is_of_a_file_that_may_be_read(spec: Path) -> None:
    lines = SpecLines(spec)
    assert lines.line("machine.pvs:1") == MACHINE.strip()
    assert [lines.line(where) for where in ("machine.pvs:3", "machine.pvs:0", "../other/secret.pvs:1", "x:1", ":")] == [
        ""
    ] * 5
