"""The public API: its names, that it is lazy, what its values promise, and that the commands use nothing else."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pvspec
from pvspec import Machine, PredictionError, PvspecError, bind_kernel, explain, load_spec, open_kernel, patch, predict

from .prediction import kernel as small_kernel
from .test_architecture import ROWS

PACKAGE = Path(pvspec.__file__).parent
DOCS = PACKAGE.parent / "docs"
COMMANDS = sorted([*PACKAGE.joinpath("cli", "commands").glob("*.py"), PACKAGE / "cli" / "kernels.py"])
MACHINE = Machine(features=("XMM2",), cpus=1)


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pvspec.KernelImage:
    monkeypatch.chdir(tmp_path)
    return open_kernel(small_kernel.build())


def values(vmlinux: pvspec.KernelImage) -> Iterator[object]:
    """One of each kind that a prediction leads to."""
    prediction = predict(vmlinux, MACHINE, spec="kernel.pvs")
    address = vmlinux.symbols.parse_address("labelled")
    yield from (vmlinux, load_spec("kernel.pvs"), MACHINE, prediction, *prediction.sites)
    yield from (form for site in prediction.sites for form in site.others)
    yield explain(vmlinux, MACHINE, address, spec="kernel.pvs")
    yield from (bind_kernel(vmlinux, MACHINE, spec="kernel.pvs"), patch(vmlinux, MACHINE, spec="kernel.pvs"))


# ---- names


def test_the_names_are_sorted_and_there() -> None:
    assert pvspec.__all__ == sorted(pvspec.__all__)
    assert dir(pvspec) == pvspec.__all__
    for name in pvspec.__all__:
        assert getattr(pvspec, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(pvspec.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(pvspec.__all__)


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="'pvspec' has no attribute 'predikt'"):
        _ = getattr(pvspec, "predikt")  # noqa: B009 - mypy knows better


def test_it_is_typed() -> None:
    assert PACKAGE.joinpath("py.typed").exists()


@pytest.mark.parametrize("name", sorted(set(pvspec.__all__) - {"__version__"}))
def test_each_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(pvspec, name))
    assert re.search(rf"`[^`\n]*\b{name}\b", DOCS.joinpath("api.md").read_text(encoding="utf-8"))


def test_an_import_costs_nothing() -> None:
    script = "import sys; before = set(sys.modules); import pvspec; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.startswith("pvspec")} == {"pvspec"}


# ---- values and errors


def test_values_pickle_and_copy(vmlinux: pvspec.KernelImage) -> None:
    for value in values(vmlinux):
        for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert type(again) is type(value)
            assert repr(again) == repr(value)


def test_a_prediction_that_was_pickled_says_the_same(vmlinux: pvspec.KernelImage) -> None:
    prediction = predict(vmlinux, MACHINE, spec="kernel.pvs")
    again: pvspec.Prediction = pickle.loads(pickle.dumps(prediction))
    assert again.text == prediction.text
    assert again.counts == prediction.counts
    assert [list(site.others) for site in again.sites] == [list(site.others) for site in prediction.sites]
    assert any(site.others for site in again.sites)


def test_what_is_large_shows_itself_in_a_line(vmlinux: pvspec.KernelImage) -> None:
    kinds = (pvspec.KernelImage, pvspec.Prediction, pvspec.Bound, pvspec.Patched)
    shown = [repr(value) for value in values(vmlinux) if isinstance(value, kinds)]
    assert len(shown) == len(kinds)
    assert all(len(text) < 160 and "\n" not in text for text in shown)


def test_errors_have_one_root() -> None:
    errors = [getattr(pvspec, name) for name in pvspec.__all__ if name.endswith(("Error", "Bug"))]
    assert {PvspecError, PredictionError, pvspec.PatchBug} < set(errors)
    assert all(issubclass(error, PvspecError) for error in errors)


def test_errors_pickle(vmlinux: pvspec.KernelImage) -> None:
    calls: list[Callable[[], object]] = [
        lambda: predict(vmlinux, Machine(), spec="kernel.pvs"),
        lambda: load_spec("missing.pvs"),
        lambda: open_kernel("missing"),
        lambda: pvspec.read_cpu("missing"),
        lambda: pvspec.Facts(load_spec("kernel.pvs"), cpus=0),
    ]
    for call in calls:
        with pytest.raises(PvspecError) as caught:
            call()
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# ---- who uses it


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_commands_call_the_api_and_nothing_else(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            top = str(node.module).split(".")[0]
            assert (
                node.module == "pvspec" or f"{node.module}.".startswith("pvspec.cli.") or top in sys.stdlib_module_names
            )
        elif isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names)


def test_the_page_of_the_architecture_has_each_room() -> None:
    page = DOCS.joinpath("architecture.md").read_text(encoding="utf-8")
    assert [name for row in ROWS for name in row.split() if f"`{name}`" not in page] == []
